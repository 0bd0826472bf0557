"""Word times: known texts decoded once more, several windows at once, and the path through their attention.

The device computes the attention, in one CUDA graph for each size and length; threads of this process find the path. In the server's
process that cost it 300 KB to read and 1 ms of Python's lock for each window, which is the lock of the event loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch

from whisper_server.engines.gpu.attention import median_mean, sharpen, text_probabilities
from whisper_server.engines.gpu.dtw import token_starts, warm_up
from whisper_server.engines.gpu.model_facts import Vocabulary
from whisper_server.engines.gpu.pinned_memory import HostCopies, to_device
from whisper_server.engines.torch.batches import ALIGN_LENGTHS, ALIGN_SIZES, fitting, up_to
from whisper_server.engines.torch.decoding import Decoding
from whisper_server.engines.torch.network import decode_known, logits_of
from whisper_server.engines.torch.weights import Weights
from whisper_server.engines.torch.wire import Aligned, AlignTask, DecodeTask
from whisper_server.whisper.constants import N_AUDIO_POSITIONS

N_THREADS = 4
"""A path takes 0.6 ms; 160 windows a second need a tenth of a core."""
N_TOKENS_AT_ONCE = 512
"""Their logits are in memory together: 106 MB in float32."""
HEADS_AT_ONCE = 80
"""Heads of all windows together, of which the attention is sharpened at once: 8 windows of large-v3, which has ten. A checkpoint that names
no alignment heads has up to 320, with which 8 windows would take 13 GiB. One head of 256 tokens takes 1.5 MB, and its computation five times as much."""
HEADS_AT_ONCE_WITHOUT_TRITON = 20
"""PyTorch's median of seven has some 16 copies in memory."""
N_FACTS = 3


class Paths:
    """Word times of several windows, which a thread is finding."""

    def __init__(self, found: Future[list[Aligned]]) -> None:
        self._found = found

    @property
    def are_there(self) -> bool:
        """Whether reading waits for nothing."""
        return self._found.done()

    def wait(self) -> list[Aligned]:
        """One for each window."""
        return self._found.result()


class Aligner:
    """Answers AlignTasks whose windows are encoded."""

    def __init__(
        self, weights: Weights, decoding: Decoding, vocabulary: Vocabulary, heads: Sequence[tuple[int, int]]
    ) -> None:
        self._weights, self._vocabulary, self._spare_row = weights, vocabulary, decoding.n_rows
        self._caches, self._graphs = decoding.caches, decoding.graphs
        self._filtered, self._heads_at_once = median_mean, HEADS_AT_ONCE_WITHOUT_TRITON
        if decoding.options.row_attention:
            from whisper_server.engines.torch import kernels  # Triton, which a CPU does not have

            self._filtered, self._heads_at_once = kernels.median_mean, HEADS_AT_ONCE
        self.max_windows = max(1, min(ALIGN_SIZES[-1], decoding.n_rows, HEADS_AT_ONCE // len(heads)))
        """That `attend` takes at once."""
        self._sizes = up_to(ALIGN_SIZES, self.max_windows)
        self._lengths = up_to(ALIGN_LENGTHS, decoding.lengths[-1])
        # On the device once: an index in the CPU's memory waits for all work that the GPU has queued.
        self._heads = [
            torch.tensor([head for at, head in heads if at == layer], dtype=torch.int64, device=weights.device)
            for layer in range(len(weights.decoder_layers))
        ]
        self._texts = torch.zeros(
            (self.max_windows, N_FACTS + self._lengths[-1]), dtype=torch.int64, device=weights.device
        )
        self._threads = ThreadPoolExecutor(N_THREADS, "align")
        self._threads.submit(warm_up)

    def capture(self) -> None:
        """Capture the graphs of texts that are not longer than openai/whisper's. Does nothing on a CPU."""
        for size in reversed(self._sizes) if self._graphs.are_used else ():
            for length in reversed(self._lengths[: len(ALIGN_LENGTHS)]):
                self._run(size, length, N_AUDIO_POSITIONS)

    def attend(self, tasks: Sequence[AlignTask]) -> HostCopies:
        """Attention (window, token, position) and the probability of the token after each (window, token), on their way to the
        host. At most `max_windows`.
        """
        texts = [self._known(task) for task in tasks]
        longest, n_heard = max(map(len, texts)), max(task.n_positions for task in tasks)
        size, length, n_positions = len(tasks), longest, n_heard
        if self._graphs.are_used:
            size, length = fitting(self._sizes, size), fitting(self._lengths, length)
            n_positions = N_AUDIO_POSITIONS
        numbers = [
            (task.place.slot, len(known), task.n_positions, *known, *known[-1:] * (length - len(known)))
            for task, known in zip(tasks, texts, strict=True)
        ]
        numbers += [(self._spare_row, *numbers[0][1:])] * (size - len(tasks))
        self._texts[:size, : len(numbers[0])].copy_(
            to_device(torch.tensor(numbers, dtype=torch.int64), self._weights.device)
        )
        attention, probabilities = self._run(size, length, n_positions)
        return HostCopies(
            attention[: len(tasks), :longest, :n_heard].contiguous(), probabilities[: len(tasks)].contiguous()
        )

    def _run(self, size: int, length: int, n_positions: int) -> tuple[torch.Tensor, torch.Tensor]:
        def compute() -> tuple[torch.Tensor, torch.Tensor]:
            rows, n_tokens, n_heard = self._texts[:size, :N_FACTS].unbind(1)
            tokens = self._texts[:size, N_FACTS:][:, :length]
            hidden, scores = decode_known(self._weights, self._caches, rows, tokens, keep=False, heads=self._heads)
            assert scores is not None, "a model has alignment heads"
            wholes = (scores[..., :n_positions], n_tokens, n_heard)
            n_at_once = max(1, self._heads_at_once // scores.shape[1])
            some = zip(*(whole.split(n_at_once) for whole in wholes), strict=True)
            attention = torch.cat([self._sharpened(*part).to(torch.float16) for part in some])
            after = tokens.roll(-1, 1).clamp(
                max=self._vocabulary.endoftext - 1
            )  # of text tokens only the result is used
            parts = zip(
                *(part.split(N_TOKENS_AT_ONCE) for part in (hidden.flatten(0, 1), after.flatten())), strict=True
            )
            probabilities = [
                text_probabilities(logits_of(self._weights, states), ids, self._vocabulary.endoftext)
                for states, ids in parts
            ]
            return attention, torch.cat(probabilities).view(size, length)

        return self._graphs.run(("align", size, length), compute)

    def _sharpened(self, scores: torch.Tensor, n_tokens: torch.Tensor, n_heard: torch.Tensor) -> torch.Tensor:
        """`sharpen`, of some heads at a time: the mean of all is a sum of parts."""
        parts = (
            sharpen(part, n_tokens, n_heard, self._filtered) * (part.shape[1] / scores.shape[1])
            for part in scores.split(self._heads_at_once, dim=1)
        )
        return torch.stack(list(parts)).sum(0)

    def task_after(self, task: DecodeTask, tokens: Sequence[int]) -> AlignTask | None:
        """That of a decoded text; None if it has no words, or does not fit into the model's context."""
        text_tokens = tuple(token for token in tokens if token < self._vocabulary.endoftext)
        aligning = AlignTask(task.task_id, task.place, task.n_positions, task.sot_sequence, text_tokens)
        return aligning if text_tokens and len(self._known(aligning)) <= self._lengths[-1] else None

    def paths(self, tasks: Sequence[AlignTask], copies: HostCopies) -> Paths:
        """The times, by what `attend` computed."""
        return Paths(self._threads.submit(_paths, tasks, *copies.wait()))

    def _known(self, task: AlignTask) -> tuple[int, ...]:
        return (*task.sot_sequence, self._vocabulary.notimestamps, *task.text_tokens, self._vocabulary.endoftext)


def _paths(tasks: Sequence[AlignTask], attention: torch.Tensor, probabilities: torch.Tensor) -> list[Aligned]:
    return [
        Aligned(task.task_id, _starts_s(task, attended), tuple(after[_text_of(task)].tolist()))
        for task, attended, after in zip(tasks, attention.float().numpy(), probabilities, strict=True)
    ]


def _text_of(task: AlignTask, n_more: int = 0) -> slice:
    """The tokens before each text token: a row of the attention belongs to the token that follows."""
    first = len(task.sot_sequence)
    return slice(first, first + len(task.text_tokens) + n_more)


def _starts_s(task: AlignTask, attention: npt.NDArray[np.float32]) -> tuple[float, ...]:
    return token_starts(attention[_text_of(task, 1), : task.n_positions])

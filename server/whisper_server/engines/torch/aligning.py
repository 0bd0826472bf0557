"""Word times: known texts decoded once more, several windows at once, and the path through their attention.

The device computes the attention; threads of this process find the path. In the server's process that cost it 300 KB to read and
1 ms of Python's lock for each window, which is the lock of the event loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch

from whisper_server.engines.gpu.attention import sharpen, text_probabilities
from whisper_server.engines.gpu.dtw import token_starts, warm_up
from whisper_server.engines.gpu.model_facts import Vocabulary
from whisper_server.engines.gpu.pinned_memory import HostCopies, to_device
from whisper_server.engines.torch.decoding import Decoding
from whisper_server.engines.torch.network import logits_of
from whisper_server.engines.torch.weights import Weights
from whisper_server.engines.torch.wire import Aligned, AlignTask

N_THREADS = 4
"""A path takes 0.6 ms; 160 windows a second need a tenth of a core."""
N_TOKENS_AT_ONCE = 512
"""Their logits are in memory together: 106 MB in float32."""


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
        self._weights, self._decoding, self._vocabulary = weights, decoding, vocabulary
        # On the device once: an index in the CPU's memory waits for all work that the GPU has queued.
        self._heads = [
            torch.tensor([head for at, head in heads if at == layer], dtype=torch.int64, device=weights.device)
            for layer in range(len(weights.decoder_layers))
        ]
        self._threads = ThreadPoolExecutor(N_THREADS, "align")
        self._threads.submit(warm_up)

    def attend(self, tasks: Sequence[AlignTask]) -> HostCopies:
        """Attention (window, token, position) and the probability of each text token, on their way to the host."""
        known = [self._known(task) for task in tasks]
        longest, n_positions = max(map(len, known)), [task.n_positions for task in tasks]
        padded = [(*tokens, *tokens[-1:] * (longest - len(tokens))) for tokens in known]
        hidden, scores = self._decoding.attend([task.place.slot for task in tasks], padded, self._heads)
        attention = sharpen(scores[..., : max(n_positions)], list(map(len, known)), n_positions)
        # Logits after the token before each text token.
        at = [
            index * longest + len(task.sot_sequence) + token
            for index, task in enumerate(tasks)
            for token in range(len(task.text_tokens))
        ]
        text = [token for task in tasks for token in task.text_tokens]
        rows, tokens = to_device(torch.tensor([at, text], dtype=torch.int64), hidden.device)
        probabilities = [
            text_probabilities(logits_of(self._weights, states), ids, self._vocabulary.endoftext)
            for states, ids in zip(
                hidden.flatten(0, 1)[rows].split(N_TOKENS_AT_ONCE), tokens.split(N_TOKENS_AT_ONCE), strict=True
            )
        ]
        return HostCopies(attention.to(torch.float16), torch.cat(probabilities))

    def paths(self, tasks: Sequence[AlignTask], copies: HostCopies) -> Paths:
        """The times, by what `attend` computed."""
        return Paths(self._threads.submit(_paths, tasks, *copies.wait()))

    def _known(self, task: AlignTask) -> tuple[int, ...]:
        return (*task.sot_sequence, self._vocabulary.notimestamps, *task.text_tokens, self._vocabulary.endoftext)


def _paths(tasks: Sequence[AlignTask], attention: torch.Tensor, probabilities: torch.Tensor) -> list[Aligned]:
    of_each = probabilities.split([len(task.text_tokens) for task in tasks])
    return [
        Aligned(task.task_id, _starts_s(task, each), tuple(of_text.tolist()))
        for task, each, of_text in zip(tasks, attention.float().numpy(), of_each, strict=True)
    ]


def _starts_s(task: AlignTask, attention: npt.NDArray[np.float32]) -> tuple[float, ...]:
    first = len(task.sot_sequence)
    return token_starts(attention[first : first + len(task.text_tokens) + 1, : task.n_positions])

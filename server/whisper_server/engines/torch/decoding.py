"""Decoding steps for all windows in the engine, and what they have decoded so far, on the device.

A window keeps its row from its encoding to its end. A step computes the first `size` rows, those without work too, so
that it can be one CUDA graph for each size; rows are given out lowest first, which keeps sizes small. On a CPU a step
runs eagerly.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from whisper_server.engines.gpu.model_facts import Vocabulary
from whisper_server.engines.gpu.pinned_memory import HostCopies, to_device
from whisper_server.engines.torch.network import (
    Caches,
    decode_known,
    decode_step,
    encode,
    fill_cross_cache,
    logits_of,
)
from whisper_server.engines.torch.sampler import Sampler
from whisper_server.engines.torch.weights import Weights
from whisper_server.engines.torch.wire import DecodeTask
from whisper_server.whisper.constants import MEL_HOP_SAMPLES, N_WINDOW_SAMPLES

ROW_SIZES = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512)
LENGTHS = (64, 128, 256)
"""Positions of text that a step's attention looks at; the last length is the model's context."""
ENCODER_SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16)
"""Windows encoded at once: 16 take 6.21 ms each on an H200, 64 take 5.98 ms. Requests over HTTP come a few at a time, and a
window that pads a batch costs as much as any other: with powers of two 9 windows would cost 16."""
N_WARM_UPS = 2


@dataclass(frozen=True)
class Finished:
    """A text, on the host."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]


def finished(texts: HostCopies) -> list[Finished]:
    """The texts, in the order of their rows. Waits for the copies, and so for the steps before them."""
    counts, tokens, logprobs = texts.wait()
    return [
        Finished(tuple(tokens[index, :count].tolist()), tuple(logprobs[index, :count].tolist()))
        for index, count in enumerate(counts.tolist())
    ]


class Decoding:
    """Caches, graphs and texts of `n_rows` windows."""

    def __init__(self, weights: Weights, vocabulary: Vocabulary, n_rows: int, n_text_positions: int) -> None:
        device = weights.device
        self.n_rows = n_rows
        self.lengths = tuple(sorted({*(one for one in LENGTHS if one < n_text_positions), n_text_positions}))
        self.sizes = tuple(sorted({*(one for one in ROW_SIZES if one < n_rows), n_rows}))
        self._weights = weights
        self._endoftext = vocabulary.endoftext
        self._caches = Caches.allocate(weights, n_rows, n_text_positions)
        self._sampler = Sampler(vocabulary, n_rows, device)
        self._all_rows = torch.arange(n_rows, device=device)
        self._tokens = torch.zeros(n_rows, dtype=torch.int64, device=device)
        self._positions = torch.zeros(n_rows, dtype=torch.int64, device=device)
        self._n_out = torch.zeros(n_rows, dtype=torch.int64, device=device)
        self._max_out = torch.zeros(n_rows, dtype=torch.int64, device=device)
        self._out_tokens = torch.zeros((n_rows, n_text_positions + 1), dtype=torch.int32, device=device)
        self._out_logprobs = torch.zeros((n_rows, n_text_positions + 1), dtype=torch.float32, device=device)
        self.done = torch.ones(n_rows, dtype=torch.bool, device=device)
        """Rows whose text has ended, or that never began one."""
        self._graphs: dict[tuple[int, int, bool], torch.cuda.CUDAGraph] = {}
        self._encoder_graphs: dict[int, tuple[torch.cuda.CUDAGraph, torch.Tensor]] = {}
        self._features = torch.zeros(
            (ENCODER_SIZES[-1], weights.n_mels, N_WINDOW_SAMPLES // MEL_HOP_SAMPLES), dtype=weights.dtype, device=device
        )
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def capture(self) -> None:
        """Capture all graphs of greedy steps and of the encoder, largest first. Does nothing on a CPU."""
        if self._pool is None:
            return
        for size in reversed(ENCODER_SIZES):
            self._encode_padded(size)
        for size in reversed(self.sizes):
            for length in self.lengths:
                self._run_step(size, length, sample=False)

    def encode(self, rows: Sequence[int], features: torch.Tensor) -> None:
        """Log-mel features (window, band, frame), at most ENCODER_SIZES[-1] windows, into the rows' cross cache."""
        if self._pool is None:
            states = encode(self._weights, features.to(self._weights.dtype))
        else:
            self._features[: len(rows)].copy_(features)
            states = self._encode_padded(ENCODER_SIZES[bisect_left(ENCODER_SIZES, len(rows))])[: len(rows)]
        fill_cross_cache(self._weights, self._caches, states, self._to_device(rows))

    def detect(self, rows: Sequence[int], startoftranscript: int) -> torch.Tensor:
        """Log-probabilities (window, token) after `<|startoftranscript|>`, on the device."""
        tokens = torch.full((len(rows), 1), startoftranscript, device=self._weights.device)
        hidden, _ = decode_known(self._weights, self._caches, self._to_device(rows), tokens, keep=False)
        return logits_of(self._weights, hidden[:, 0]).float().log_softmax(-1)

    def begin(self, rows: Sequence[int], tasks: Sequence[DecodeTask], nospeech: int) -> torch.Tensor:
        """Read the prompts and choose the first token of each text.

        Returns the log-probability of "no speech" after `<|startoftranscript|>` (window,), on the device.
        """
        weights, where = self._weights, self._to_device(rows)
        longest = max(len(task.prompt) for task in tasks)
        padded = [(*task.prompt, *task.prompt[-1:] * (longest - len(task.prompt))) for task in tasks]
        hidden, _ = decode_known(weights, self._caches, where, self._to_device(padded), keep=True)
        each = torch.arange(len(rows), device=weights.device)
        last = self._to_device([len(task.prompt) - 1 for task in tasks])
        start = self._to_device([len(task.prompt) - task.n_task_tokens for task in tasks])
        no_speech = logits_of(weights, hidden[each, start]).float().log_softmax(-1)[:, nospeech]
        self._sampler.begin(
            where,
            self._to_device([int(task.timestamps) for task in tasks]),
            to_device(torch.tensor([task.temperature for task in tasks]), weights.device),
        )
        self._positions[where] = last
        self._n_out.index_fill_(0, where, 0)  # `[where] = 0` waits for all work that the GPU has queued
        self._max_out[where] = self._to_device([task.max_new_tokens for task in tasks])
        self.done.index_fill_(0, where, False)  # noqa: FBT003 - a tensor's value
        sample = any(task.temperature > 0 for task in tasks)
        self._take(logits_of(weights, hidden[each, last]), where, sample=sample)
        return no_speech

    def step(self, n_rows: int, n_positions: int, *, sample: bool) -> None:
        """One more token for the first `n_rows` rows, none of which has `n_positions` tokens or more."""
        size = self.sizes[bisect_left(self.sizes, n_rows)]
        length = self.lengths[min(bisect_left(self.lengths, n_positions), len(self.lengths) - 1)]
        self._run_step(size, length, sample=sample)

    def texts(self, rows: Sequence[int]) -> HostCopies:
        """The texts of rows that are done, for `finished`. Waits for nothing; the rows may be used again at once."""
        where = self._to_device(rows)
        return HostCopies(self._n_out[where], self._out_tokens[where], self._out_logprobs[where])

    def attend(
        self, rows: Sequence[int], tokens: Sequence[Sequence[int]], heads: Sequence[tuple[int, int]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states and alignment heads' scores of known texts, padded; see `network.decode_known`."""
        hidden, scores = decode_known(
            self._weights, self._caches, self._to_device(rows), self._to_device(tokens), keep=False, heads=heads
        )
        assert scores is not None, "a model has alignment heads"
        return hidden, scores

    def _run_step(self, size: int, length: int, *, sample: bool) -> None:
        if self._pool is None:
            self._step(size, length, sample=sample)
            return
        key = (size, length, sample)
        if key not in self._graphs:
            self._graphs[key] = self._captured_step(size, length, sample=sample)
        self._graphs[key].replay()

    def _captured_step(self, size: int, length: int, *, sample: bool) -> torch.cuda.CUDAGraph:
        """Warming up computes steps, so the rows' state is put back afterwards."""
        state = [self._tokens, self._positions, self._n_out, self.done, *self._sampler.state]
        saved = [tensor.clone() for tensor in state]
        self.done.fill_(True)  # noqa: FBT003 - a tensor's value
        for _ in range(N_WARM_UPS):
            self._step(size, length, sample=sample)
        for tensor, values in zip(state, saved, strict=True):
            tensor.copy_(values)
        torch.cuda.synchronize(self._weights.device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            self._step(size, length, sample=sample)
        return graph

    def _step(self, size: int, length: int, *, sample: bool) -> None:
        # Rows that are done go on computing at their last position; their results are dropped.
        positions = self._positions[:size].clamp_(max=length - 1)
        logits = decode_step(self._weights, self._caches, self._tokens[:size], positions, length)
        self._take(logits, self._all_rows[:size], sample=sample)

    def _take(self, logits: torch.Tensor, rows: torch.Tensor, *, sample: bool) -> None:
        """Choose the tokens of `rows`, and keep those of texts that have not ended."""
        tokens, logprobs = self._sampler.choose(logits, rows, sample=sample)
        n_out, live = self._n_out[rows], ~self.done[rows]
        at = n_out.unsqueeze(1)
        kept_tokens, kept_logprobs = self._out_tokens[rows], self._out_logprobs[rows]
        old_tokens, old_logprobs = kept_tokens.gather(1, at).squeeze(1), kept_logprobs.gather(1, at).squeeze(1)
        self._out_tokens[rows, n_out] = torch.where(live, tokens.to(torch.int32), old_tokens)
        self._out_logprobs[rows, n_out] = torch.where(live, logprobs, old_logprobs)
        n_out = n_out + live
        self._n_out[rows] = n_out
        self.done[rows] = ~live | (tokens == self._endoftext) | (n_out >= self._max_out[rows])
        self._tokens[rows] = tokens
        self._positions[rows] = self._positions[rows] + 1

    def _encode_padded(self, size: int) -> torch.Tensor:
        """The first `size` windows of `_features`; valid until the next call."""
        if size not in self._encoder_graphs:
            for _ in range(N_WARM_UPS):
                encode(self._weights, self._features[:size])
            torch.cuda.synchronize(self._weights.device)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool):
                states = encode(self._weights, self._features[:size])
            self._encoder_graphs[size] = (graph, states)
        graph, states = self._encoder_graphs[size]
        graph.replay()
        return states

    def _to_device(self, values: Sequence[int] | Sequence[Sequence[int]]) -> torch.Tensor:
        return to_device(torch.tensor(values, dtype=torch.int64), self._weights.device)

"""Decoding steps for all windows in the engine, and what they have decoded so far, on the device.

A window keeps its row from its encoding to its end. A step computes the first rows, those without work too, or the rows that decode,
wherever they are (`PREFIX_ROWS`), in one CUDA graph for each size. One spare row after the others takes what pads a batch. On a CPU
everything runs eagerly, without padding.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from itertools import product

import torch

from whisper_server.engines.gpu.model_facts import Vocabulary
from whisper_server.engines.gpu.pinned_memory import HostCopies, to_device
from whisper_server.engines.torch.batches import (
    ENCODER_FRAMES,
    ENCODER_SIZES,
    LENGTHS,
    MAX_ROW_PROMPT,
    MILLIONTHS,
    N_FACTS,
    PREFIX_ROWS,
    PROMPT_LENGTHS,
    PROMPT_SIZES,
    ROW_SIZES,
    Options,
    Prompt,
    fitting,
    up_to,
)
from whisper_server.engines.torch.cuda_graphs import CudaGraphs
from whisper_server.engines.torch.network import (
    Caches,
    decode_rows,
    decode_step,
    encode,
    fill_cross_cache,
    logits_of,
    read_prompts,
)
from whisper_server.engines.torch.sampler import Sampler
from whisper_server.engines.torch.weights import Weights
from whisper_server.engines.torch.wire import DecodeTask
from whisper_server.whisper.constants import N_MEL_FRAMES


class Decoding:
    """Caches, graphs and texts of `n_rows` windows."""

    def __init__(
        self, weights: Weights, vocabulary: Vocabulary, n_rows: int, n_text_positions: int, *, options: Options
    ) -> None:
        device, n_all = weights.device, n_rows + 1
        self.n_rows = n_rows
        self.lengths = up_to(LENGTHS, n_text_positions)
        self.sizes = up_to(ROW_SIZES, n_rows)
        self._prompt_sizes = up_to(PROMPT_SIZES, min(n_rows, PROMPT_SIZES[-1]))
        self._prompt_lengths = up_to(PROMPT_LENGTHS, n_text_positions)
        self._weights, self._vocabulary, self._n_text_positions = weights, vocabulary, n_text_positions
        self._languages = torch.tensor(vocabulary.languages, dtype=torch.int64, device=device)
        self.caches = Caches.allocate(weights, n_all, n_text_positions, fp8=options.fp8_cache)
        self.options = options
        self._n_prefix_rows = 0 if options.fp8_cache else PREFIX_ROWS if options.row_attention else n_rows
        self._step_rows = torch.full((self.sizes[-1],), n_rows, dtype=torch.int64, device=device)
        self._last_rows: list[int] = []
        self._sampler = Sampler(vocabulary, n_all, device)
        self._all_rows = torch.arange(n_all, device=device)
        self._tokens, self._positions, self._n_out, self._max_out = torch.zeros(
            (4, n_all), dtype=torch.int64, device=device
        )
        # The last column takes the tokens of rows that are done.
        self._out_tokens = torch.zeros((n_all, n_text_positions + 1), dtype=torch.int32, device=device)
        self._out_logprobs = torch.zeros((n_all, n_text_positions + 1), dtype=torch.float32, device=device)
        self.done = torch.ones(n_all, dtype=torch.bool, device=device)
        """Rows whose text has ended, or that never began one."""
        self._features = torch.zeros(
            (ENCODER_SIZES[-1], weights.n_mels, N_MEL_FRAMES), dtype=weights.dtype, device=device
        )
        self._encoded_rows = torch.full((ENCODER_SIZES[-1],), n_rows, dtype=torch.int64, device=device)
        self._prompts = torch.zeros(
            (self._prompt_sizes[-1], N_FACTS + n_text_positions), dtype=torch.int64, device=device
        )
        state = (self._tokens, self._positions, self._n_out, self._max_out, self.done, *self._sampler.state)
        self.graphs = CudaGraphs(device, state)
        """Also for what else is computed with the caches."""

    @property
    def is_ahead(self) -> bool:
        """Whether the device goes on computing while the host waits for results: a GPU."""
        return self.graphs.are_used

    @property
    def max_prompts(self) -> int:
        """That `begin` and `detect` take at once."""
        return self._prompt_sizes[-1]

    def capture(self) -> None:
        """Capture the graphs of greedy steps, of the encoder and of most prompts, largest first. Does nothing on a CPU."""
        if not self.graphs.are_used:
            return
        for n_frames, size in product(reversed(ENCODER_FRAMES), reversed(ENCODER_SIZES)):
            self._encode(size, n_frames)
        for size in reversed(self.sizes):
            if self.options.row_attention:  # also for few rows: they may have high numbers
                self._run_rows(size, sample=False)
            for length in self.lengths if size <= self._n_prefix_rows else ():
                self._run_step(size, length, sample=False)
        for size in reversed(self._prompt_sizes):
            # Those of live sessions, too: captured during their first passes, words would be seconds late.
            for length in reversed(self._prompt_lengths[: len(PROMPT_LENGTHS) - 1]):
                self._begin([Prompt(self.n_rows, (self._vocabulary.startoftranscript,) * length)] * size, sample=False)
            self._detect([Prompt(self.n_rows, (self._vocabulary.startoftranscript,))] * size)
        self.done.fill_(True)  # noqa: FBT003 - a tensor's value

    def encode(self, rows: Sequence[int], features: torch.Tensor) -> None:
        """Log-mel features (window, band, frame), at most ENCODER_SIZES[-1] windows of ENCODER_FRAMES, into the rows' cross cache."""
        size = fitting(ENCODER_SIZES, len(rows)) if self.graphs.are_used else len(rows)
        n_frames = features.shape[2]
        self._features[: len(rows), :, :n_frames].copy_(features)
        self._encoded_rows[:size].copy_(self._to_device([*rows, *(self.n_rows,) * (size - len(rows))]))
        self._encode(size, n_frames)

    def detect(self, rows: Sequence[int]) -> torch.Tensor:
        """Log-probabilities (window, language) after `<|startoftranscript|>`, on the device until the next call."""
        return self._detect([Prompt(row, (self._vocabulary.startoftranscript,)) for row in rows])

    def begin(self, rows: Sequence[int], tasks: Sequence[DecodeTask]) -> torch.Tensor:
        """Read the prompts and choose the first token of each text.

        Returns the log-probability of "no speech" after `<|startoftranscript|>` (window,), on the device until the next call.
        """
        prompts = [Prompt.of(row, task) for row, task in zip(rows, tasks, strict=True)]
        return self._begin(prompts, sample=any(task.temperature > 0 for task in tasks))

    def step(self, rows: Collection[int], n_positions: int, *, sample: bool) -> None:
        """One more token for these rows, none of which has `n_positions` tokens or more."""
        n_first = max(rows) + 1
        if n_first <= self._n_prefix_rows:
            length = self.lengths[min(bisect_left(self.lengths, n_positions), len(self.lengths) - 1)]
            self._run_step(fitting(self.sizes, n_first), length, sample=sample)
            return
        size = fitting(self.sizes, len(rows))
        padded = [*sorted(rows), *(self.n_rows,) * (size - len(rows))]
        if padded != self._last_rows:
            self._step_rows[:size].copy_(self._to_device(padded))
            self._last_rows = padded
        self._run_rows(size, sample=sample)

    def texts(self, rows: Sequence[int]) -> HostCopies:
        """The texts of rows that are done, for the scheduler. Waits for nothing; the rows may be used again at once."""
        where = self._to_device(rows)
        return HostCopies(self._n_out[where], self._out_tokens[where], self._out_logprobs[where])

    def _detect(self, prompts: Sequence[Prompt]) -> torch.Tensor:
        size, _ = self._load(prompts)

        def compute() -> torch.Tensor:
            rows, tokens = self._prompts[:size, 0], self._prompts[:size, N_FACTS:][:, :1]
            logprobs = logits_of(self._weights, self._known(rows, tokens)[:, 0]).float().log_softmax(-1)
            return logprobs.index_select(1, self._languages)

        return self.graphs.run(("detect", size), compute)[: len(prompts)]

    def _begin(self, prompts: Sequence[Prompt], *, sample: bool) -> torch.Tensor:
        size, length = self._load(prompts)

        def compute() -> torch.Tensor:
            weights, facts = self._weights, self._prompts[:size, :N_FACTS]
            rows, last, start, timestamps, max_out, temperature = facts.unbind(1)
            tokens = self._prompts[:size, N_FACTS:][:, :length]
            hidden = self._known(rows, tokens)
            each = self._all_rows[:size]
            no_speech = logits_of(weights, hidden[each, start]).float().log_softmax(-1)[:, self._vocabulary.nospeech]
            self._sampler.begin(rows, timestamps, temperature.float() / MILLIONTHS)
            self._positions[rows] = last
            self._n_out.index_fill_(0, rows, 0)  # `[rows] = 0` waits for all work that the GPU has queued
            self._max_out[rows] = max_out
            self.done.index_fill_(0, rows, False)  # noqa: FBT003 - a tensor's value
            self._take(logits_of(weights, hidden[each, last]), rows, sample=sample)
            return no_speech

        return self.graphs.run(("begin", size, length, sample), compute)[: len(prompts)]

    def _load(self, prompts: Sequence[Prompt]) -> tuple[int, int]:
        """Prompts to the device, in one copy. Returns what they are padded to: their number and their length."""
        size, length = len(prompts), max(len(prompt.tokens) for prompt in prompts)
        if self.graphs.are_used:
            size, length = fitting(self._prompt_sizes, size), fitting(self._prompt_lengths, length)
        spare = Prompt(self.n_rows, prompts[0].tokens)
        numbers = [prompt.numbers(length) for prompt in (*prompts, *(spare,) * (size - len(prompts)))]
        self._prompts[:size, : len(numbers[0])].copy_(self._to_device(numbers))
        return size, length

    def _run_step(self, size: int, length: int, *, sample: bool) -> None:
        def compute() -> torch.Tensor:
            # Rows that are done go on computing at their last position; their results are dropped.
            positions = self._positions[:size].clamp_(max=length - 1)
            logits = decode_step(self._weights, self.caches, self._tokens[:size], positions, length)
            self._take(logits, self._all_rows[:size], sample=sample)
            return self.done

        self.graphs.run(("step", size, length, sample), compute)

    def _run_rows(self, size: int, *, sample: bool) -> None:
        def compute() -> torch.Tensor:
            rows = self._step_rows[:size]
            positions = self._positions[rows].clamp_(max=self._n_text_positions - 1)
            hidden = decode_rows(self._weights, self.caches, self._tokens[rows], positions, rows)
            self._take(logits_of(self._weights, hidden), rows, sample=sample)
            return self.done

        self.graphs.run(("rows", size, sample), compute)

    def _take(self, logits: torch.Tensor, rows: torch.Tensor, *, sample: bool) -> None:
        """Choose the tokens of `rows`, and keep those of texts that have not ended."""
        tokens, logprobs = self._sampler.choose(logits, rows, sample=sample)
        n_out, is_done = self._n_out[rows], self.done[rows]
        at = n_out.masked_fill(is_done, self._n_text_positions)
        self._out_tokens[rows, at] = tokens.to(torch.int32)
        self._out_logprobs[rows, at] = logprobs
        n_out = n_out + ~is_done
        self._n_out[rows] = n_out
        self.done[rows] = is_done | (tokens == self._vocabulary.endoftext) | (n_out >= self._max_out[rows])
        self._tokens[rows] = tokens
        self._positions[rows] = self._positions[rows] + 1

    def _encode(self, size: int, n_frames: int) -> None:
        def compute() -> torch.Tensor:
            states = encode(self._weights, self._features[:size, :, :n_frames])
            if n_frames < N_MEL_FRAMES:
                states = states.repeat(1, N_MEL_FRAMES // n_frames, 1)
            rows, by_kernel = self._encoded_rows[:size], self.options.row_attention
            fill_cross_cache(self._weights, self.caches, states, rows, by_kernel=by_kernel)
            return self.done

        self.graphs.run(("encode", size, n_frames), compute)

    def _known(self, rows: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        by_rows = self.options.row_attention and tokens.shape[1] <= MAX_ROW_PROMPT
        return read_prompts(self._weights, self.caches, rows, tokens, by_rows=by_rows)

    def _to_device(self, values: Sequence[int] | Sequence[Sequence[int]]) -> torch.Tensor:
        return to_device(torch.tensor(values, dtype=torch.int64), self._weights.device)

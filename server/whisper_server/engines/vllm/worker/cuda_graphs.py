"""CUDA graphs: computations that are captured once for every batch size, and replayed by one launch.

The kernels of an encoder batch or of a sampling step take longer to launch one by one than the GPU takes to compute
them. Used on GPUs only: elsewhere vLLM may have packed the encoder's weights into another form.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from whisper_server.engines.gpu.token_rules import VocabularyRanges, step_in_place
from whisper_server.engines.vllm.worker.encoder import encode, layer_weights

Output = TypeVar("Output")

N_WARM_UPS = 2
"""Runs before a capture: in them, libraries choose and load their kernels, which cannot happen during a capture."""


@dataclass(frozen=True)
class CapturedGraph(Generic[Output]):
    """One batch size."""

    graph: torch.cuda.CUDAGraph
    output: Output
    """Tensors that every replay overwrites."""

    def replay(self) -> Output:
        """Compute again on what the input buffers hold now."""
        self.graph.replay()
        return self.output


def capture(
    compute: Callable[[int], Output], sizes: Sequence[int], device: torch.device
) -> dict[int, CapturedGraph[Output]]:
    """A graph of `compute(size)` for each size; it must read its input from buffers that stay in place.

    The largest size is captured first: the others then fit into its memory.
    """
    pool = torch.cuda.graph_pool_handle()
    captured = {}
    for size in sorted(sizes, reverse=True):
        for _ in range(N_WARM_UPS):
            compute(size)
        torch.cuda.synchronize(device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            output = compute(size)
        captured[size] = CapturedGraph(graph, output)
    return captured


class GraphedEncoder:
    """`encoder.encode` for batches of up to `max_windows` windows, with a graph for each number of windows."""

    def __init__(self, encoder: torch.nn.Module, n_heads: int, max_windows: int) -> None:
        self._encoder = encoder
        self._n_heads = n_heads
        self._max_windows = max_windows
        self._layers = [layer_weights(layer) for layer in encoder.layers]
        self._graphs: dict[int, CapturedGraph[torch.Tensor]] = {}
        self._features = torch.empty(0)

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Features (window, band, frame) → hidden states (window, position, width), valid until the next call."""
        n_windows = len(features)
        if not self._graphs:
            self._features = features.new_zeros((self._max_windows, *features.shape[1:]))
            self._graphs = capture(self._encode, range(1, self._max_windows + 1), features.device)
        self._features[:n_windows].copy_(features)
        return self._graphs[n_windows].replay()

    def _encode(self, n_windows: int) -> torch.Tensor:
        return encode(self._features[:n_windows], self._encoder, self._layers, self._n_heads)


class GraphedStep:
    """`token_rules.step_in_place` with a graph for each of `sizes`; a batch is padded to the next size."""

    def __init__(self, sizes: Sequence[int], n_slots: int) -> None:
        self._sizes = sorted(sizes)
        self._padding_slot = n_slots
        """Row of the state for the rows that a batch is padded with."""
        self._step: Callable[..., tuple[torch.Tensor, torch.Tensor]] = torch.compile(step_in_place, dynamic=True)
        self._graphs: dict[int, CapturedGraph[tuple[torch.Tensor, torch.Tensor]]] = {}
        self._logits = self._slots = torch.empty(0)

    def __call__(
        self, logits: torch.Tensor, state: torch.Tensor, device_slots: torch.Tensor, ranges: VocabularyRanges
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `step_in_place`; `state` and `ranges` must be those of the first call, which captures the graphs."""
        n_rows = len(logits)
        if not self._graphs:
            self._capture(logits, state, ranges)
        place = bisect_left(self._sizes, n_rows)
        if place == len(self._sizes):
            return self._step(logits, state, device_slots.long(), ranges)
        size = self._sizes[place]
        self._logits[:n_rows].copy_(logits)
        self._slots[:n_rows].copy_(device_slots)
        self._slots[n_rows:size].fill_(self._padding_slot)
        tokens, logprobs = self._graphs[size].replay()
        # Copies: while they are on their way to the CPU, the next step overwrites the graph's own.
        return tokens[:n_rows].clone(), logprobs[:n_rows].clone()

    def _capture(self, logits: torch.Tensor, state: torch.Tensor, ranges: VocabularyRanges) -> None:
        n_max_rows, device = self._sizes[-1], state.device
        self._logits = torch.zeros((n_max_rows, logits.shape[1]), dtype=logits.dtype, device=device)
        self._slots = torch.full((n_max_rows,), self._padding_slot, dtype=torch.int64, device=device)

        def compute(size: int) -> tuple[torch.Tensor, torch.Tensor]:
            return self._step(self._logits[:size], state, self._slots[:size], ranges)

        self._graphs = capture(compute, self._sizes, device)

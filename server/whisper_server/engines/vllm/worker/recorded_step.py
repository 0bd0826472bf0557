"""A step of the rules recorded as CUDA graphs: started at once, instead of kernel by kernel.

A small batch takes less time to compute than its kernels take to be started, so this is most of what the rules would
cost. CUDA only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

import torch

from whisper_server.engines.vllm.worker.stretches import Stretches, step_in_place

N_WARM_UPS = 2


class RecordedStep:
    """`stretches.step_in_place` for batches of given sizes, one of `sizes` for each number of rows."""

    def __init__(self, sizes: Sequence[int], n_slots: int) -> None:
        self._sizes = sorted(sizes)
        self._nobody = n_slots
        """Row of the state for the rows that a batch is padded with."""
        self._step: Callable[..., tuple[torch.Tensor, torch.Tensor]] = torch.compile(step_in_place, dynamic=True)
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._answers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._logits = self._where = torch.empty(0)

    def record(self, state: torch.Tensor, stretches: Stretches, n_tokens: int, dtype: torch.dtype) -> None:
        """Record all sizes, largest first, so that the others fit into its memory."""
        largest, device = self._sizes[-1], state.device
        self._logits = torch.zeros((largest, n_tokens), dtype=dtype, device=device)
        self._where = torch.full((largest,), self._nobody, dtype=torch.int64, device=device)
        pool = torch.cuda.graph_pool_handle()
        for size in reversed(self._sizes):
            for _ in range(N_WARM_UPS):
                self._step(self._logits[:size], state, self._where[:size], stretches)
            torch.cuda.synchronize(device)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):
                self._answers[size] = self._step(self._logits[:size], state, self._where[:size], stretches)
            self._graphs[size] = graph

    def __call__(
        self, logits: torch.Tensor, state: torch.Tensor, where: torch.Tensor, stretches: Stretches
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `step_in_place`, with the state and stretches that were recorded."""
        n_rows = len(logits)
        if not self._graphs:
            self.record(state, stretches, logits.shape[1], logits.dtype)
        place = bisect_left(self._sizes, n_rows)
        if place == len(self._sizes):
            return self._step(logits, state, where.long(), stretches)
        size = self._sizes[place]
        self._logits[:n_rows].copy_(logits)
        self._where[:n_rows].copy_(where)
        self._where[n_rows:size].fill_(self._nobody)
        self._graphs[size].replay()
        tokens, logprobs = self._answers[size]
        # Copies: while they are on their way to the processor, the next step writes its own.
        return tokens[:n_rows].clone(), logprobs[:n_rows].clone()

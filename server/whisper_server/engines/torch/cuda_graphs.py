"""Computations on fixed tensors as CUDA graphs: the GPU then needs no launch of a kernel by the CPU.

A step of 64 windows has 240 kernels and takes the GPU 1.3 ms; the CPU takes 4 ms to launch them one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")


class CudaGraphs:
    """One graph for each key. On a CPU computations just run."""

    def __init__(self, device: torch.device, state: Sequence[torch.Tensor]) -> None:
        """`state`: tensors that computations change; warming up changes nothing in them."""
        self._device = device
        self._state = state
        self._graphs: dict[Hashable, tuple[torch.cuda.CUDAGraph, Any]] = {}
        self.are_used: bool = device.type == "cuda"
        self._pool = torch.cuda.graph_pool_handle() if self.are_used else None

    def run(self, key: Hashable, compute: Callable[[], Result]) -> Result:
        """The tensors that `compute` returns; valid until any graph runs, as all share their memory. The first run of a key captures it."""
        if not self.are_used:
            return compute()
        if key not in self._graphs:
            self._graphs[key] = self._captured(compute)
        graph, result = self._graphs[key]
        graph.replay()
        returned: Result = result
        return returned

    def _captured(self, compute: Callable[[], Result]) -> tuple[torch.cuda.CUDAGraph, Result]:
        saved = [tensor.clone() for tensor in self._state]
        compute()  # libraries choose their kernels and allocate their workspaces in the first run, which a graph cannot have in it
        for tensor, values in zip(self._state, saved, strict=True):
            tensor.copy_(values)
        torch.cuda.synchronize(self._device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            result = compute()
        return graph, result

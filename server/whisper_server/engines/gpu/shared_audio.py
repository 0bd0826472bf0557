"""A pool of window-sized slots in memory that the server's process writes and an engine's process reads.

A window never crosses a socket. Where the GPU's driver lets the engine's process pin the memory, the GPU copies a window
itself, and that is its only copy. Imports neither torch nor vllm.
"""

from __future__ import annotations

import asyncio
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from whisper_server.whisper.constants import N_WINDOW_SAMPLES
from whisper_server.whisper.transcript import Samples

FULL_SCALE = 32767.0
CONFIG_KEY = "whisper_server_audio"
WRITES_PER_ITERATION = 2
"""Of the event loop: each takes 0.25 ms. All further ones of an iteration, of a long recording say, go to threads."""
SLOT_BYTES = N_WINDOW_SAMPLES * np.dtype(np.int16).itemsize


@dataclass(frozen=True)
class AudioSlot:
    """A slot that holds a window."""

    index: int
    scale: float
    """Factor that turns the stored samples into the original ones."""


class SharedAudioPool:
    """`n_slots` windows of 30 s, as 16-bit samples."""

    def __init__(self, descriptor: int, n_slots: int) -> None:
        """Map the memory behind `descriptor`, which the pool owns from now on."""
        self._descriptor = descriptor
        with os.fdopen(os.dup(descriptor), "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), n_slots * SLOT_BYTES)
        self.samples: npt.NDArray[np.int16] = np.frombuffer(self._memory, dtype=np.int16).reshape(n_slots, -1)
        """(slot, sample)."""
        self._n_written: dict[int, int] = {}
        """Samples by slot; behind them all are 0."""
        self._n_now = 0
        """Written in this iteration of the event loop."""
        self._free: asyncio.PriorityQueue[int] = asyncio.PriorityQueue()
        for slot in range(n_slots):
            self.release(slot)

    @classmethod
    def create(cls, n_slots: int) -> SharedAudioPool:
        """A new pool. Its pages are allocated at the first write, or all at once where a GPU's driver pins them."""
        descriptor = os.memfd_create("whisper-windows", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, n_slots * SLOT_BYTES)
        return cls(descriptor, n_slots)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SharedAudioPool:
        """The pool of another process, from its `to_config`."""
        source = config[CONFIG_KEY]
        return cls.opened(source["pid"], source["descriptor"], source["n_slots"])

    @classmethod
    def opened(cls, pid: int, descriptor: int, n_slots: int) -> SharedAudioPool:
        """The pool of another process, which has it under that descriptor."""
        return cls(os.open(f"/proc/{pid}/fd/{descriptor}", os.O_RDWR), n_slots)

    @property
    def descriptor(self) -> int:
        """By which a child process opens the memory."""
        return self._descriptor

    def to_config(self) -> dict[str, object]:
        """For `additional_config`."""
        return {CONFIG_KEY: {"pid": os.getpid(), "descriptor": self._descriptor, "n_slots": len(self.samples)}}

    async def acquire(self) -> int:
        """Index of the lowest free slot; waits for one."""
        return await self._free.get()

    def release(self, slot: int) -> None:
        """Make the slot free."""
        self._free.put_nowait(slot)

    def limit(self, n_slots: int) -> None:
        """Give out the first `n_slots` slots only. None may be in use."""
        while not self._free.empty():
            self._free.get_nowait()
        for slot in range(n_slots):
            self.release(slot)

    async def fill(self, slot: int, samples: Samples) -> AudioSlot:
        """`write`, without a thread where few are written: the way to one and back costs more than the write, and the event loop then
        waits for Python's lock.
        """
        if not self._n_now:
            asyncio.get_running_loop().call_soon(self._next_iteration)
        self._n_now += 1
        if self._n_now <= WRITES_PER_ITERATION:
            return self.write(slot, samples)
        return await asyncio.to_thread(self.write, slot, samples)

    def _next_iteration(self) -> None:
        self._n_now = 0

    def write(self, slot: int, samples: Samples) -> AudioSlot:
        """Write a window into its slot, padded with silence. The error is 98 dB below the loudest sample."""
        loudest = float(max(samples.max(initial=0.0), -samples.min(initial=0.0))) or 1.0
        target, n_before = self.samples[slot], self._n_written.get(slot, 0)
        scaled = samples * np.float32(FULL_SCALE / loudest)
        np.rint(scaled, out=scaled)
        target[: len(samples)] = scaled  # to integers in one step by `rint` takes twice as long
        target[len(samples) : n_before] = 0
        self._n_written[slot] = len(samples)
        return AudioSlot(slot, loudest / FULL_SCALE)

    def close(self) -> None:
        """Close the descriptor; the memory is freed with its last mapping. May be called twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

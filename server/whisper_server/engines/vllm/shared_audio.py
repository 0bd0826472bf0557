"""Windows of sound where the server's process writes them and vLLM's process reads them: memory that both map.

A window never crosses a socket, and where the GPU's driver lets vLLM's process pin the memory, it is copied once,
by the GPU. Knows neither torch nor vllm.
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
CONFIG_KEY = "whisper_server_sounds"
SLOT_BYTES = N_WINDOW_SAMPLES * np.dtype(np.int16).itemsize


@dataclass(frozen=True)
class AudioSlot:
    """Where a window lies."""

    index: int
    scale: float
    """What to multiply its samples with."""


class SharedAudioPool:
    """So many windows of 30 s, as 16-bit samples."""

    def __init__(self, descriptor: int, n_slots: int) -> None:
        """Map memory that there is already. Takes the descriptor over."""
        self._descriptor = descriptor
        with os.fdopen(os.dup(descriptor), "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), n_slots * SLOT_BYTES)
        self.samples: npt.NDArray[np.int16] = np.frombuffer(self._memory, dtype=np.int16).reshape(n_slots, -1)
        """(slot, sample)."""
        self._free: asyncio.Queue[int] = asyncio.Queue()
        for slot in range(n_slots):
            self.release(slot)

    @classmethod
    def create(cls, n_slots: int) -> SharedAudioPool:
        """Memory that nobody has yet: taken as windows are written, or all at once where a GPU's driver pins it."""
        descriptor = os.memfd_create("whisper-windows", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, n_slots * SLOT_BYTES)
        return cls(descriptor, n_slots)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SharedAudioPool:
        """That of another process, as its `to_config` tells."""
        where = config[CONFIG_KEY]
        return cls(os.open(f"/proc/{where['pid']}/fd/{where['descriptor']}", os.O_RDWR), where["n_slots"])

    def to_config(self) -> dict[str, Any]:
        """For `additional_config`."""
        return {CONFIG_KEY: {"pid": os.getpid(), "descriptor": self._descriptor, "n_slots": len(self.samples)}}

    async def acquire(self) -> int:
        """A slot, as soon as one is free."""
        return await self._free.get()

    def release(self, slot: int) -> None:
        """To be taken by others."""
        self._free.put_nowait(slot)

    def write(self, slot: int, samples: Samples) -> AudioSlot:
        """Put a window into its slot, silence behind it. The error is 98 dB below the loudest sample."""
        loudest = float(max(samples.max(initial=0.0), -samples.min(initial=0.0))) or 1.0
        place = self.samples[slot]
        np.rint(samples * (FULL_SCALE / loudest), out=place[: len(samples)], casting="unsafe")
        place[len(samples) :] = 0
        return AudioSlot(slot, loudest / FULL_SCALE)

    def close(self) -> None:
        """Close the descriptor; the memory itself goes when nobody looks at it any more. May be called twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

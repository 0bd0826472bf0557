"""`read_audio` in the test's own process, and a reservation that counts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from whisper_server.audio.limits import DecoderLimits
from whisper_server.audio.memory_file import MemoryFile
from whisper_server.audio.read_audio import read_audio
from whisper_server.audio.upload_reader import UploadReader
from whisper_server.memory.budget import MemoryBudget, Reservation
from whisper_server.whisper.transcript import Samples


def memory_file(content: bytes) -> MemoryFile:
    file = MemoryFile.create()
    file.write(content)
    return file


def decoded(content: bytes, limits: DecoderLimits | None = None) -> Samples:
    """All samples of a file."""
    with memory_file(content) as file:
        return np.concatenate(list(read_audio(UploadReader(file.fileno()), limits or DecoderLimits())))


class Budget(Reservation):
    """A reservation with a limit of its own, which counts and can be shared by jobs; `on_grow` runs in the middle of a worker's job."""

    def __init__(self, limit_bytes: int = 1 << 40, on_grow: Callable[[], object] = lambda: None) -> None:
        super().__init__(MemoryBudget(limit_bytes))
        self.limit_bytes = limit_bytes
        self.on_grow = on_grow
        self.held_bytes = 0
        self.max_held_bytes = 0
        self.n_grows = 0
        self.n_releases = 0

    def grow(self, n_bytes: int) -> bool:
        self.n_grows += 1
        self.on_grow()
        if self.held_bytes + n_bytes > self.limit_bytes:
            return False
        self.held_bytes += n_bytes
        self.max_held_bytes = max(self.max_held_bytes, self.held_bytes)
        return True

    def shrink(self, n_bytes: int) -> None:
        self.held_bytes -= n_bytes

    def release(self) -> None:
        self.n_releases += 1
        self.held_bytes = 0

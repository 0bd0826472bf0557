"""The server's decoder, called in the test's own process; and a budget that counts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from whisper_server.audio.decode import decode
from whisper_server.audio.limits import DecodeLimits
from whisper_server.audio.memory_file import MemoryFile
from whisper_server.audio.upload_reader import UploadReader
from whisper_server.whisper.transcript import Samples


def memory_file(content: bytes) -> MemoryFile:
    file = MemoryFile.create()
    file.write(content)
    return file


def decoded(content: bytes, limits: DecodeLimits | None = None) -> Samples:
    """All samples of a file."""
    with memory_file(content) as file:
        return np.concatenate(list(decode(UploadReader(file.fileno()), limits or DecodeLimits())))


class Budget:
    """A reservation with a limit, which counts; `on_grow` runs in the middle of a worker's job."""

    def __init__(self, limit_bytes: int = 1 << 40, on_grow: Callable[[], object] = lambda: None) -> None:
        self.limit_bytes = limit_bytes
        self.on_grow = on_grow
        self.held_bytes = 0
        self.most_bytes = 0
        self.n_grows = 0
        self.n_releases = 0
        self.outgrown = False

    def grow(self, n_bytes: int) -> bool:
        self.n_grows += 1
        self.on_grow()
        if self.held_bytes + n_bytes > self.limit_bytes:
            return False
        self.held_bytes += n_bytes
        self.most_bytes = max(self.most_bytes, self.held_bytes)
        return True

    def release(self) -> None:
        self.n_releases += 1
        self.held_bytes = 0

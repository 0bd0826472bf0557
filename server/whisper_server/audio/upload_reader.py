"""The uploaded file as PyAV reads it: by position, so that the descriptor's shared offset does not matter."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class UploadReader(io.RawIOBase):
    """Reads a descriptor that the caller owns, or a part of it. Reads past the end return nothing."""

    def __init__(self, fd: int, start: int = 0, end: int | None = None, *, patch: tuple[int, bytes] = (0, b"")) -> None:
        super().__init__()
        self._fd = fd
        self._start = start
        self._position = 0
        self._patch = patch
        # Not `fstat`: the sandbox lets a worker ask nothing of a path, and glibc's fstat is a call that could.
        self.n_bytes = (os.lseek(fd, 0, os.SEEK_END) if end is None else end) - start

    def part(self, start: int, end: int) -> UploadReader:
        """The bytes from `start` up to `end`, as a separate file."""
        return UploadReader(self._fd, self._start + start, self._start + end)

    def read_at(self, position: int, n_bytes: int) -> bytes:
        """At most `n_bytes` from `position`. Does not move the position."""
        return os.pread(self._fd, max(0, min(n_bytes, self.n_bytes - position)), self._start + position)

    def patched(self, position: int, content: bytes) -> UploadReader:
        """The same file, read as if `content` stood at `position`."""
        return UploadReader(self._fd, self._start, self._start + self.n_bytes, patch=(position, content))

    @property
    def is_patched(self) -> bool:
        """Whether the file is not read as it is; `read_at` does read it as it is."""
        return bool(self._patch[1])

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer)[: max(0, self.n_bytes - self._position)]
        n_read = os.preadv(self._fd, [target], self._start + self._position) if target else 0
        at, content = self._patch
        for position in range(max(at, self._position), min(at + len(content), self._position + n_read)):
            target[position - self._position] = content[position - at]
        self._position += n_read
        return n_read

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.n_bytes}[whence]
        if base + offset < 0:
            raise OSError("seek before the start of the file")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

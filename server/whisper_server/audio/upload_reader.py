"""The uploaded file as PyAV reads it: by position, so that the descriptor's shared offset does not matter."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class UploadReader(io.RawIOBase):
    """Reads a descriptor that somebody else owns. Seeking past the end reads nothing."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._position = 0
        self.n_bytes = os.fstat(fd).st_size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        n_read = os.preadv(self._fd, [buffer], self._position)
        self._position += n_read
        return n_read

    def read_at(self, position: int, n_bytes: int) -> bytes:
        """At most `n_bytes` from `position`; does not move."""
        return os.pread(self._fd, n_bytes, position)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.n_bytes}[whence]
        if base + offset < 0:
            raise OSError("seek before the start of the file")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

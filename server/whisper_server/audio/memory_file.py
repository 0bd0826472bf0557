"""A file in memory without a name: the kernel frees it with the last process that holds it.

The server writes an upload into one as it streams in; a worker writes the samples into another. No path exists, so a
process that is killed leaves no file.
"""

from __future__ import annotations

import fcntl
import os
from typing import Self

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def seal(fd: int) -> None:
    """From now on no process can change the file's contents or length.

    Do not call this on an event loop: the kernel may wait for pages that another processor has just written.
    """
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)


class MemoryFile:
    """A memfd that is written once, from start to end, and then passed on by descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._n_bytes = 0

    @classmethod
    def create(cls, name: str = "upload") -> MemoryFile:
        """A new empty file. `name` is only a label in /proc."""
        label = name.encode("ascii", "replace").replace(b"\0", b"?")[:200]
        return cls(os.memfd_create(os.fsdecode(label), os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))

    @property
    def n_bytes(self) -> int:
        """Bytes written through this object."""
        return self._n_bytes

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def fileno(self) -> int:
        if self._fd < 0:
            raise ValueError("the memory file is closed")
        return self._fd

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append all of `data`."""
        fd = self.fileno()
        rest = memoryview(data).cast("B")
        while rest:
            n_written = os.pwrite(fd, rest, self._n_bytes)
            self._n_bytes += n_written
            rest = rest[n_written:]

    @property
    def is_sealed(self) -> bool:
        """Whether any process called `seal` on the file."""
        return fcntl.fcntl(self.fileno(), fcntl.F_GET_SEALS) & _SEALS == _SEALS

    def close(self) -> None:
        """Close the descriptor. May be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # An upload that a crashed handler did not close must not stay as long as the server runs.
        self.close()

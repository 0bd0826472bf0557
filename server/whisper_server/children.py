"""The processes under this one, and an end to them: for what a library has started and does not end itself.

As Linux tells them; without /proc there are none. Processes of our own are ended by who started them.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path


def children(pid: int | None = None) -> frozenset[int]:
    """Processes that `pid`, or this one, has started and that are still there.

    Without Python's resource tracker: it ends when the last of the others has, and clears away what they shared.
    """
    found: set[int] = set()
    for path in _threads(pid):
        with suppress(OSError):  # the thread has ended
            found |= {int(child) for child in (path / "children").read_text(encoding="ascii").split()}
    return frozenset(child for child in found if b"resource_tracker" not in _command(child))


def _threads(pid: int | None) -> tuple[Path, ...]:
    # Listed in one go: whoever asks first whether the folder is there, as glob() does, may find it gone afterwards.
    with suppress(OSError):  # the process has ended
        return tuple(Path(f"/proc/{pid or 'self'}/task").iterdir())
    return ()


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def kill(pids: frozenset[int]) -> None:
    """SIGKILL to these processes and to all below them; parents first, so that none starts another."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
        below = children(pid)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        kill(below)

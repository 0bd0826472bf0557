"""CPU time of a server by its parts, as the kernel counts it: event loop, other threads, decoders, engine."""

from __future__ import annotations

import contextlib
from dataclasses import astuple, dataclass
from pathlib import Path

import psutil

DECODER = "whisper_server.audio.worker"


@dataclass(frozen=True)
class Spent:
    """Seconds of CPU time."""

    loop_s: float
    threads_s: float
    decoders_s: float
    engine_s: float
    """All other processes of the server."""

    def since(self, before: Spent) -> Spent:
        pairs = zip(astuple(self), astuple(before), strict=True)
        return Spent(*(one_s - before_s for one_s, before_s in pairs))


def spent(server: psutil.Process) -> Spent:
    """Up to now. The event loop is the server's first thread; what threads and decoders that ended took is not in it."""
    by_thread = _threads_s(server.pid)
    loop_s = by_thread.pop(server.pid)
    children_s = {True: 0.0, False: 0.0}
    for child in server.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            children_s[DECODER in child.cmdline()] += sum(_threads_s(child.pid).values())
    return Spent(loop_s, sum(by_thread.values()), children_s[True], children_s[False])


def _threads_s(pid: int) -> dict[int, float]:
    """By thread. From schedstat: nanoseconds, where `stat` has hundredths of a second."""
    seconds = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            seconds[int(task.name)] = int((task / "schedstat").read_text().split()[0]) / 1e9
    return seconds

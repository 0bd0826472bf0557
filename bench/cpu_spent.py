"""CPU time of a server by its parts, as the kernel counts it: event loop, other threads, decoders, realtime sessions, engine."""

from __future__ import annotations

import contextlib
from dataclasses import astuple, dataclass
from pathlib import Path

import psutil

DECODER = "whisper_server.audio.worker"
SESSIONS = "whisper_server.http.live.session_worker"


@dataclass(frozen=True)
class Spent:
    """Seconds of CPU time."""

    loop_s: float
    threads_s: float
    decoders_s: float
    sessions_s: float
    """Processes of realtime sessions."""
    engine_s: float
    """All other processes of the server."""

    def since(self, before: Spent) -> Spent:
        pairs = zip(astuple(self), astuple(before), strict=True)
        return Spent(*(one_s - before_s for one_s, before_s in pairs))


def spent(server: psutil.Process) -> Spent:
    """Up to now. The event loop is the server's first thread; what threads and decoders that ended took is not in it."""
    by_thread = _threads_s(server.pid)
    loop_s = by_thread.pop(server.pid)
    children_s = {DECODER: 0.0, SESSIONS: 0.0, "": 0.0}
    for child in server.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            command = child.cmdline()
            kind = next((kind for kind in (DECODER, SESSIONS) if kind in command), "")
            children_s[kind] += sum(_threads_s(child.pid).values())
    return Spent(loop_s, sum(by_thread.values()), children_s[DECODER], children_s[SESSIONS], children_s[""])


def _threads_s(pid: int) -> dict[int, float]:
    """By thread. From schedstat: nanoseconds, where `stat` has hundredths of a second."""
    seconds = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            seconds[int(task.name)] = int((task / "schedstat").read_text().split()[0]) / 1e9
    return seconds

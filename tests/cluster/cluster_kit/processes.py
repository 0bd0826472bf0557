"""The processes of a cluster: started in sessions of their own, recorded, and ended by what was recorded.

A record names the process by its id and its start time, so that an id that the system has given to somebody else is
never signalled. Which processes make a cluster is not known here.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process that was started; `start_ticks` is field 22 of /proc/PID/stat."""

    name: str
    pid: int
    start_ticks: int

    @property
    def alive(self) -> bool:
        """Whether any of its threads runs. One that has ended and is our own child is reaped by asking."""
        with opened(self) as descriptor:
            if descriptor is None:
                return False
            has_ended = ended(descriptor, 0)
        if has_ended:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, os.WNOHANG)
        return not has_ended


def this_process() -> Process:
    return of_pid("this process", os.getpid())


def of_pid(name: str, pid: int) -> Process:
    """A process that is there, or waits for us to reap it."""
    start_ticks = _start_ticks(pid)
    if start_ticks is None:
        raise ProcessLookupError(pid)
    return Process(name, pid, start_ticks)


def start(name: str, argv: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> Process:
    """Start a process that no signal to our own session reaches; what it prints goes on in `log`.

    posix_spawn, because subprocess warns of every process that outlives the object it hands out.
    """
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    pid = os.posix_spawn(argv[0], list(argv), dict(environment), file_actions=files, setsid=True)
    return of_pid(name, pid)


def end(processes: Sequence[Process], *, number: int = signal.SIGKILL, limit_s: float = 30) -> None:
    """Signal all that live, and return once none does. What ignores the signal until the limit is killed."""
    for process in processes:
        _signal(process, number)
    deadline_s = time.monotonic() + limit_s
    while alive := [process for process in processes if process.alive]:
        if time.monotonic() > deadline_s:
            for process in alive:
                _signal(process, signal.SIGKILL)
        time.sleep(0.02)


def wait(processes: Sequence[Process], limit_s: float) -> None:
    """Return once none of them lives, or the limit has passed. Nobody is signalled."""
    deadline_s = time.monotonic() + limit_s
    while any(process.alive for process in processes) and time.monotonic() < deadline_s:
        time.sleep(0.02)


def record(process: Process, folder: Path) -> None:
    """Note the process in `folder`, where it takes the place of an older one of its name."""
    folder.mkdir(exist_ok=True)
    new = folder / f".{process.name}.new"
    new.write_text(json.dumps(asdict(process)))
    new.replace(folder / f"{process.name}.json")


def recorded(folder: Path) -> dict[str, Process]:
    """By name, those that have been recorded, whether they live or not."""
    records = [Process(**json.loads(file.read_text())) for file in sorted(folder.glob("*.json"))]
    return {process.name: process for process in records}


@contextmanager
def opened(process: Process) -> Iterator[int | None]:
    """A descriptor of the process, which cannot come to mean another one; readable once it has ended.

    None where it is gone. /proc would not tell the end: it calls a process a zombie while threads of it still listen.
    """
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield descriptor if _start_ticks(process.pid) == process.start_ticks else None
    finally:
        os.close(descriptor)


def ended(descriptor: int, limit_s: float | None) -> bool:
    """Whether the process behind the descriptor ends within the limit; None waits for ever."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if limit_s is None else limit_s * 1000))


def _signal(process: Process, number: int) -> None:
    with opened(process) as descriptor, contextlib.suppress(ProcessLookupError):
        if descriptor is not None:
            signal.pidfd_send_signal(descriptor, number)


def _start_ticks(pid: int) -> int | None:
    """None where there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(text[text.rindex(")") + 2 :].split()[19])  # the name before may hold anything

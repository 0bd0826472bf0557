"""What OpenAI's client meets before it tries again, as its own log tells it: the client itself stays as it is."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

CLIENTS_LOG = "openai._base_client"


@dataclass(frozen=True)
class FailedAttempt:
    """One that brought no answer, whether another followed or not."""

    at_s: float
    """By time.monotonic."""
    client: str
    """The thread's name."""
    problem: str


class _Collector(logging.Handler):
    """Keeps the exceptions that the client notes, each once an attempt."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[FailedAttempt] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            problem = told(record.exc_info[1])
            self.found.append(FailedAttempt(time.monotonic(), threading.current_thread().name, problem))


@contextmanager
def failed_attempts() -> Iterator[list[FailedAttempt]]:
    """The list grows while this is open. One at a time: the log is the process's."""
    log, collector = logging.getLogger(CLIENTS_LOG), _Collector()
    before = log.level, log.propagate
    log.setLevel(logging.DEBUG)
    log.propagate = False  # every request's options with all their audio would be written out
    log.addHandler(collector)
    try:
        yield collector.found
    finally:
        log.removeHandler(collector)
        log.level, log.propagate = before


def told(problem: BaseException) -> str:
    """The exception with what brought it about, and with what a proxy or a server said."""
    text = f"{type(problem).__name__}: {problem}"
    if isinstance(problem, httpx.HTTPStatusError):
        text = f"{problem.response.status_code} {problem.response.text[:300]!r}"
    cause = problem.__cause__ or problem.__context__
    return f"{text} ← {told(cause)}" if cause is not None else text

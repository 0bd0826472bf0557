"""Which job gets the next decoder worker: turns by owner, and a worker that is kept free of long files.

A file is long by its price. Long files use all workers but one, so that a clip never waits until one of them is decoded: a
worker cannot be interrupted. A job that turns out to be long gives its worker up and waits again. Knows no process.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from whisper_server.audio.limits import LONG_PRICE_S, MIN_PRICE_S, price_of_bytes
from whisper_server.audio.messages import Probed
from whisper_server.fairness.backlog import Backlog
from whisper_server.fairness.fair_queue import FairQueue

_DECAY = 0.9
"""Exponential decay per job of the measured speed."""


class Alive(Protocol):
    """A worker, as far as the queue knows it."""

    @property
    def alive(self) -> bool: ...


Worker = TypeVar("Worker", bound=Alive)


@dataclass(eq=False)
class QueuedJob:
    """One file, from its arrival until it is decoded."""

    owner: str
    price_s: float
    is_long: bool
    header: Probed | None = None
    holds_worker: bool = False
    since_s: float = 0.0
    """When it got its worker."""


@dataclass(eq=False)
class _Waiter(Generic[Worker]):
    job: QueuedJob
    worker: asyncio.Future[Worker] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class JobQueue(Generic[Worker]):
    """Idle workers, jobs that wait, and how long they wait."""

    def __init__(self, n_workers: int, clock: Callable[[], float]) -> None:
        self._n_workers = n_workers
        self._max_long = max(1, n_workers - 1)
        self._clock = clock
        self._idle: deque[Worker] = deque()
        self._waiting: FairQueue[_Waiter[Worker]] = FairQueue()
        self._running: set[QueuedJob] = set()
        self._backlogs = {False: Backlog(), True: Backlog()}
        """By `is_long`."""
        self._worker_s = 0.0
        self._done_s = 0.0

    @property
    def n_waiting(self) -> int:
        """Jobs that wait for a worker."""
        return len(self._waiting)

    @property
    def n_running(self) -> int:
        """Jobs that have a worker."""
        return len(self._running)

    def queued_audio_s(self) -> float:
        """Price of all jobs that wait or run, in seconds of ordinary sound."""
        return sum(backlog.total for backlog in self._backlogs.values())

    def drained_after_s(self) -> float:
        """Expected seconds until all jobs that wait or run are decoded."""
        return max(self._seconds(backlog.total, is_long) for is_long, backlog in self._backlogs.items())

    def wait_s(self, owner: str, price_s: float = MIN_PRICE_S) -> float:
        """Expected seconds that a new file of this price waits for others in the turns; 0 before the first measurement."""
        is_long = price_s > LONG_PRICE_S
        before_s = self._backlogs[is_long].before(owner, price_s)
        if self._n_workers == 1:
            before_s += self._backlogs[not is_long].before(owner, price_s)
        return self._seconds(before_s, is_long)

    def wait_of_s(self, job: QueuedJob) -> float:
        """The same for a file that is in the queue already."""
        self._backlogs[job.is_long].drop(job.owner, job)
        try:
            return self.wait_s(job.owner, job.price_s)
        finally:
            self._backlogs[job.is_long].add(job.owner, job, job.price_s)

    def work_s(self, price_s: float) -> float:
        """Expected seconds that decoding a file takes, once it has a worker; 0 before the first measurement."""
        return price_s * self._worker_s / max(1.0, self._done_s)

    def _seconds(self, price_s: float, is_long: bool) -> float:
        return self.work_s(price_s) / (self._max_long if is_long else self._n_workers)

    @contextmanager
    def entered(self, owner: str, n_bytes: int) -> Iterator[QueuedJob]:
        """Count a file in until it is decoded, or given up."""
        price_s = price_of_bytes(n_bytes)
        # Not long yet, however many bytes it has: wav has ten times as many as mp3, and decodes faster.
        job = QueuedJob(owner, min(price_s, LONG_PRICE_S), is_long=False)
        self._backlogs[False].add(owner, job, job.price_s)
        try:
            yield job
        finally:
            self._backlogs[job.is_long].drop(owner, job)

    async def take(self, job: QueuedJob) -> Worker:
        """A worker, when it is this job's turn."""
        while self._may_run(job) and self._idle:
            worker = self._idle.popleft()
            if worker.alive:
                self._begin(job)
                return worker
        waiter: _Waiter[Worker] = _Waiter(job)
        self._waiting.add(job.owner, job, waiter)
        try:
            return await waiter.worker
        except asyncio.CancelledError:
            if waiter.worker.done() and not waiter.worker.cancelled() and waiter.worker.exception() is None:
                self.leave(job)
                self.hand_over(waiter.worker.result())
            else:
                self._waiting.remove(job.owner, job, waiter)
            raise

    def leave(self, job: QueuedJob, *, done_s: float = 0.0) -> None:
        """The job does not use its worker any more. `done_s`: the price of what was decoded, if all was."""
        if not job.holds_worker:
            return
        job.holds_worker = False
        self._running.discard(job)
        if done_s:
            self._worker_s = _DECAY * self._worker_s + self._clock() - job.since_s
            self._done_s = _DECAY * self._done_s + max(MIN_PRICE_S, done_s)
        self._assign()

    def hand_over(self, worker: Worker) -> None:
        """Give the worker to the job whose turn it is, or else make it idle."""
        if worker.alive:
            self._idle.append(worker)
            self._assign()

    def forget(self, worker: Worker) -> None:
        """The worker has ended."""
        if worker in self._idle:
            self._idle.remove(worker)

    def reprice(self, job: QueuedJob, price_s: float, *, is_exact: bool = False) -> bool:
        """The job costs so much, or more. False: it is long, no more of those may run, and it must give its worker up."""
        if price_s <= job.price_s and not is_exact:
            return True
        self._waiting.charge(job.owner, price_s - job.price_s)
        self._backlogs[job.is_long].drop(job.owner, job)
        job.price_s = price_s
        may_go_on = job.is_long or price_s <= LONG_PRICE_S or self._n_long() < self._max_long
        job.is_long = job.is_long or price_s > LONG_PRICE_S
        self._backlogs[job.is_long].add(job.owner, job, price_s)
        return may_go_on

    def close(self, error: Callable[[], Exception]) -> None:
        """Fail all jobs that wait."""
        self._idle.clear()
        while (waiter := self._waiting.pop()) is not None:
            if not waiter.worker.done():
                waiter.worker.set_exception(error())

    def _n_long(self) -> int:
        return sum(job.is_long for job in self._running)

    def _may_run(self, job: QueuedJob) -> bool:
        return not job.is_long or self._n_long() < self._max_long

    def _begin(self, job: QueuedJob) -> None:
        job.holds_worker = True
        job.since_s = self._clock()
        self._running.add(job)

    def _assign(self) -> None:
        self._idle = deque(worker for worker in self._idle if worker.alive)
        while self._idle:
            waiter = self._waiting.pop(cost=0.0, where=lambda each: self._may_run(each.job))
            if waiter is None:
                return
            if not waiter.worker.done():
                self._waiting.charge(waiter.job.owner, waiter.job.price_s)
                self._begin(waiter.job)
                waiter.worker.set_result(self._idle.popleft())

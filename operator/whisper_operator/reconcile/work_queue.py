"""A work queue of keys, with client-go's semantics.

- A key that waits is in the queue once, however often it is added.
- Two workers never process the same key at the same time; a key that is added during its processing is processed once more.
- A key can be added with a delay; of several delays the earliest time counts.
- A key whose work fails is requeued with an exponential back-off.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import random
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Result:
    """Result of processing a key, as in controller-runtime."""

    requeue_after_s: float | None = None
    """When to process the key again if no event arrives first."""
    failed: bool = False
    """Requeue after a back-off, or after `requeue_after_s` if that is later."""


@dataclass(frozen=True)
class BackOff:
    """Delay of a key that fails: `first_s`, doubled each time up to `max_s`, each varied by the fraction `jitter`."""

    first_s: float = 0.5
    max_s: float = 60
    jitter: float = 0.25

    def after(self, n_failures: int, random_number: float) -> float:
        """`n_failures` counts from 1, `random_number` is from 0 to 1."""
        wait_s = min(self.max_s, self.first_s * 2 ** min(n_failures - 1, 30))
        return float(wait_s * (1 + self.jitter * (2 * random_number - 1)))


class WorkQueue(Generic[K]):
    """A queue and its workers."""

    def __init__(
        self,
        work: Callable[[K], Awaitable[Result]],
        *,
        back_off: BackOff = BackOff(),
        clock: Callable[[], float] | None = None,
        random_number: Callable[[], float] = random.random,
    ) -> None:
        self._work = work
        self._back_off = back_off
        self._clock = clock
        self._random_number = random_number
        self._ready: dict[K, None] = {}
        self._processing: set[K] = set()
        self._dirty: set[K] = set()
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = itertools.count()
        self._failures: dict[K, int] = {}
        self._news = asyncio.Event()
        self._later = asyncio.Event()

    @property
    def depth(self) -> int:
        """Number of keys that wait for a worker."""
        return len(self._ready) + len(self._dirty)

    @property
    def idle(self) -> bool:
        """No key waits for a worker, and none is being processed. Tests wait for it."""
        return not self._ready and not self._processing

    def add(self, key: K) -> None:
        """Adds a key to be processed as soon as a worker is free."""
        self._due.pop(key, None)
        if key in self._processing:
            self._dirty.add(key)
        else:
            self._ready[key] = None
            self._news.set()

    def add_after(self, key: K, delay_s: float) -> None:
        """Adds a key to be processed after a delay, unless it is added again before."""
        if key in self._ready or key in self._dirty:
            return
        due = self._now() + delay_s
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._heap, (due, next(self._order), key))
            self._later.set()

    async def run(self, n_workers: int) -> None:
        """Processes keys until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._release_due(), name="queue: delays")
            for number in range(n_workers):
                group.create_task(self._run_worker(), name=f"queue: worker {number}")

    async def _run_worker(self) -> None:
        while True:
            while not self._ready:
                self._news.clear()
                await self._news.wait()
            key = next(iter(self._ready))
            del self._ready[key]
            self._processing.add(key)
            try:
                result = await self._work(key)
            # A bug that one endpoint triggers must not stop the others: log it and retry.
            except Exception:
                log.exception("reconcile failed", extra={"fields": {"key": str(key)}})
                result = Result(failed=True)
            finally:
                self._processing.discard(key)
            self._settle(key, result)

    def _settle(self, key: K, result: Result) -> None:
        if result.failed:
            self._failures[key] = self._failures.get(key, 0) + 1
        else:
            self._failures.pop(key, None)
        if key in self._dirty:
            self._dirty.discard(key)
            self._ready[key] = None
            self._news.set()
            return
        if result.failed:
            wait_s = self._back_off.after(self._failures[key], self._random_number())
            self.add_after(key, max(wait_s, result.requeue_after_s or 0))
        elif result.requeue_after_s is not None:
            self.add_after(key, result.requeue_after_s)

    async def _release_due(self) -> None:
        """Moves delayed keys into the queue when they are due."""
        while True:
            now = self._now()
            while self._heap and self._heap[0][0] <= now:
                due, _, key = heapq.heappop(self._heap)
                if self._due.get(key) == due:
                    self.add(key)
            self._later.clear()
            wait_s = self._heap[0][0] - now if self._heap else None
            try:
                async with asyncio.timeout(wait_s):
                    await self._later.wait()
            except TimeoutError:
                pass

    def _now(self) -> float:
        return asyncio.get_running_loop().time() if self._clock is None else self._clock()

"""Estimates how long a request waits for its windows, and how long its own take, from the recent throughput.

Pure arithmetic; the caller provides the clock. `Backlog` has the turns.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from whisper_server.fairness.backlog import Backlog

DECAY = 0.9
"""Exponential decay per finished batch; about the last 20 batches dominate the estimate."""
SAME_BATCH_S = 0.02
"""Windows that finish within this time belong to one batch and share its duration."""


@dataclass
class _Throughput:
    """Moving average (EWMA) of seconds per finished window, over all windows that run concurrently."""

    busy_s: float = 0.0
    n_finished: float = 0.0

    def begin_batch(self, elapsed_s: float) -> None:
        self.busy_s = DECAY * self.busy_s + elapsed_s
        self.n_finished *= DECAY

    @property
    def window_s(self) -> float:
        """Seconds per window; 0 before the first measurement."""
        return self.busy_s / max(1.0, self.n_finished)


class WaitEstimator:
    """Open windows by owner and request, and the engine's throughput."""

    def __init__(self, clock: Callable[[], float], n_parallel: int = 1) -> None:
        """The engine is full while `n_parallel` windows are open: only then its throughput is that of a long recording."""
        self._clock = clock
        self._n_parallel = n_parallel
        self._since_s = 0.0
        self._any = _Throughput()
        self._full = _Throughput()
        self._measured: tuple[_Throughput, ...] = (self._any,)
        self._backlog = Backlog()

    @property
    def n_open(self) -> int:
        """Windows that are queued or running."""
        return round(self._backlog.total)

    @property
    def window_s(self) -> float:
        """Seconds per window of a busy engine, as far as it was measured; 0: not yet."""
        rates_s = [throughput.window_s for throughput in (self._any, self._full) if throughput.n_finished]
        return min(rates_s, default=0.0)

    def add(self, owner: Hashable, request: Hashable, n_windows: int) -> None:
        """Add windows to the queue; a negative number takes windows away that turned out not to be there."""
        if self.n_open == 0:
            self._since_s = self._clock()
        self._backlog.add(owner, request, n_windows)

    def drop(self, owner: Hashable, request: Hashable) -> None:
        """Remove a request, with the windows that will not be finished."""
        self._backlog.drop(owner, request)

    def finish(self, owner: Hashable, request: Hashable) -> None:
        """Record a finished window."""
        now_s = self._clock()
        elapsed_s = now_s - self._since_s
        if elapsed_s > SAME_BATCH_S:
            self._measured = (self._any, self._full) if self.n_open >= self._n_parallel else (self._any,)
            for throughput in self._measured:
                throughput.begin_batch(elapsed_s)
            self._since_s = now_s
        for throughput in self._measured:
            throughput.n_finished += 1
        self._backlog.add(owner, request, -1)

    def wait_s(self, owner: Hashable, n_windows: int = 1) -> float:
        """Expected seconds that a new request with so many windows waits for others' in the turns; 0 if nothing is known.

        Its own windows do not count. Windows that run now are not interrupted, so they come before it.
        """
        n_running = min(self.n_open, self._n_parallel)
        return max(self._backlog.before(owner, n_windows), n_running) * self.window_s

    def work_s(self, n_windows: int) -> float:
        """Expected seconds that so many windows take alone; 0 unless it was measured with a full engine.

        A single window has the engine for itself: 0.3 s for each of them say nothing about a batch of 16.
        """
        return n_windows * self._full.window_s

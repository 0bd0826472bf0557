"""Estimates how long the queued windows will take from the recent throughput.

Pure arithmetic; the caller provides the clock.
"""

from __future__ import annotations

from collections.abc import Callable

DECAY = 0.9
"""Exponential decay per finished batch; about the last 20 batches dominate the estimate."""
SAME_BATCH_S = 0.02
"""Windows that finish within this time belong to one batch and share its duration."""


class WaitEstimator:
    """Moving average (EWMA) of seconds per finished window, over all windows that run concurrently."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since_s = 0.0
        self._busy_s = 0.0
        self._n_finished = 0.0
        self._n_open = 0

    @property
    def n_open(self) -> int:
        """Windows that are queued or running."""
        return self._n_open

    def add(self, n_windows: int) -> None:
        """Add windows to the queue."""
        if self._n_open == 0:
            self._since_s = self._clock()
        self._n_open += n_windows

    def drop(self, n_windows: int) -> None:
        """Remove windows that will not be finished."""
        self._n_open -= n_windows

    def finish(self) -> None:
        """Record a finished window."""
        now_s = self._clock()
        elapsed_s = now_s - self._since_s
        if elapsed_s > SAME_BATCH_S:
            self._busy_s = DECAY * self._busy_s + elapsed_s
            self._n_finished *= DECAY
            self._since_s = now_s
        self._n_finished += 1
        self._n_open -= 1

    def wait_s(self) -> float:
        """Expected seconds until all windows that are open now are finished; 0 before the first measurement."""
        return self._n_open * self._busy_s / max(1.0, self._n_finished)

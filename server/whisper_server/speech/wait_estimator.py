"""How long what waits will take, from how fast windows were finished lately.

Arithmetic only; the clock is handed in.
"""

from __future__ import annotations

from collections.abc import Callable

DECAY = 0.9
"""Of what was measured, at every batch that ends: about the last twenty batches count."""
SAME_BATCH_S = 0.02
"""Windows of one batch are finished together: all of them share the time that it took."""


class WaitEstimator:
    """Seconds a window over all that runs side by side."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since_s = 0.0
        self._busy_s = 0.0
        self._n_finished = 0.0
        self._n_open = 0

    @property
    def n_open(self) -> int:
        """Windows that wait or run."""
        return self._n_open

    def add(self, n_windows: int) -> None:
        """Windows were put in the queue."""
        if self._n_open == 0:
            self._since_s = self._clock()
        self._n_open += n_windows

    def drop(self, n_windows: int) -> None:
        """Windows left the queue undone."""
        self._n_open -= n_windows

    def finish(self) -> None:
        """A window was finished."""
        now_s = self._clock()
        took_s = now_s - self._since_s
        if took_s > SAME_BATCH_S:
            self._busy_s = DECAY * self._busy_s + took_s
            self._n_finished *= DECAY
            self._since_s = now_s
        self._n_finished += 1
        self._n_open -= 1

    def wait_s(self) -> float:
        """Expected seconds until all that waits now is done; 0 before anything was measured."""
        return self._n_open * self._busy_s / max(1.0, self._n_finished)

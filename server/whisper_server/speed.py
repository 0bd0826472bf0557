"""How long what waits will take, from how fast windows were finished lately.

Arithmetic only; the clock is handed in.
"""

from __future__ import annotations

from collections.abc import Callable

WEIGHT_OF_LATEST = 0.1
"""Of the exponentially weighted mean: about the last twenty windows count."""


class Speed:
    """Seconds a window over all that runs side by side."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since_s = 0.0
        self._window_s: float | None = None
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
        took_s, self._since_s = now_s - self._since_s, now_s
        before_s = took_s if self._window_s is None else self._window_s
        self._window_s = before_s + WEIGHT_OF_LATEST * (took_s - before_s)
        self._n_open -= 1

    def wait_s(self) -> float:
        """Expected seconds until all that waits now is done; 0 before anything was measured."""
        return self._n_open * (self._window_s or 0.0)

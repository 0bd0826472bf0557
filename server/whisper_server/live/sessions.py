"""How many sessions are open, and how many there may be: the engine must keep up with them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from whisper_server.errors import RateLimited

CYCLE_S = 2.0
"""Each session that speaks should get a pass in this time: then a word is confirmed, by its second pass, within about twice
of it."""
MIN_SESSIONS = 4
"""However slow the engine: they are late then."""
MAX_UNMEASURED = 16
"""Before the engine's speed is known."""
RETRY_AFTER_S = 5


class LiveSessions:
    """Counts sessions; the limit follows the engine's measured speed unless a setting names one."""

    def __init__(self, max_sessions: int) -> None:
        """`max_sessions`: MAX_REALTIME_SESSIONS; 0: as many as the engine keeps up with."""
        self._max_sessions = max_sessions
        self.n_open = 0

    def limit(self, window_s: float) -> int:
        """How many there may be, if the engine takes `window_s` per window when it is busy; 0: not measured yet."""
        if self._max_sessions:
            return self._max_sessions
        return max(MIN_SESSIONS, int(CYCLE_S / window_s)) if window_s else MAX_UNMEASURED

    @contextmanager
    def admitted(self, window_s: float) -> Iterator[None]:
        """Hold a place while the session is open. Raises RateLimited."""
        limit = self.limit(window_s)
        if self.n_open >= limit:
            reason = "MAX_REALTIME_SESSIONS" if self._max_sessions else "as many as the engine keeps up with"
            raise RateLimited(
                f"{self.n_open} realtime sessions are open, and this server takes {limit} at a time ({reason}). "
                "Try again soon.",
                reason="realtime_sessions",
                retry_after_s=RETRY_AFTER_S,
            )
        self.n_open += 1
        try:
            yield
        finally:
            self.n_open -= 1

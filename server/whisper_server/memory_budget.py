"""The bytes that all requests together may hold in uploads and samples, and each request's share of them.

Only counts: nothing here allocates, waits or knows HTTP.
"""

from __future__ import annotations

import sys
from typing import Self


class MemoryBudget:
    """A limit in bytes and the sum of all reservations."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0

    @classmethod
    def unlimited(cls) -> Self:
        """Grants every request: for the command line, where one user owns the machine."""
        return cls(sys.maxsize)

    def limit_to(self, n_bytes: int) -> None:
        """Set another limit, once it is known what the server takes by itself."""
        self.limit_bytes = n_bytes

    def reservation(self) -> Reservation:
        """An empty reservation; it grows as bytes arrive."""
        return Reservation(self)


class Reservation:
    """One request's share of the budget; a context manager that releases it.

    `AudioDecoderPool.read_audio` owns the reservation that it gets: it releases it when reading fails or is
    cancelled, else when the `DecodedAudio` is closed. Exactly one of the two happens.
    """

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._n_bytes = 0
        self._released = False
        self.outgrown = False
        """Whether the request asked for more than the whole budget, so that a later try cannot succeed either."""

    def grow(self, n_bytes: int) -> bool:
        """Take `n_bytes` more. False: the budget has no room, and nothing was taken."""
        self.outgrown = self.outgrown or self._n_bytes + n_bytes > self._budget.limit_bytes
        if self._released or self._budget.used_bytes + n_bytes > self._budget.limit_bytes:
            return False
        self._budget.used_bytes += n_bytes
        self._n_bytes += n_bytes
        return True

    def shrink(self, n_bytes: int) -> None:
        """Give `n_bytes` back; the reservation may grow again. Never gives back more than it holds."""
        n_bytes = min(n_bytes, self._n_bytes)
        self._budget.used_bytes -= n_bytes
        self._n_bytes -= n_bytes

    def release(self) -> None:
        """Give everything back and refuse all later growth. May be called twice."""
        self._released = True
        self.shrink(self._n_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

"""Admission of requests: the memory budget of uploads and samples, and the limit of the queue.

Pure: numbers in, refusals out.
"""

from __future__ import annotations

from typing import Self

from whisper_server.errors import MemoryFull, Overloaded


class MemoryBudget:
    """Bytes that all requests together may hold in uploads and decoded sound."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0

    def reservation(self) -> Reservation:
        """An empty one, to be grown as bytes arrive."""
        return Reservation(self)


class Reservation:
    """One request's part of the budget; a context manager, given back at the end."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._n_bytes = 0
        self._released = False
        self.outgrown = False
        """Whether more was wanted than the whole budget holds, so that no waiting helps."""

    def grow(self, n_bytes: int) -> bool:
        """Take `n_bytes` more; False, and nothing taken, where the budget has not got them."""
        self.outgrown = self.outgrown or self._n_bytes + n_bytes > self._budget.limit_bytes
        if self._released or self._budget.used_bytes + n_bytes > self._budget.limit_bytes:
            return False
        self._budget.used_bytes += n_bytes
        self._n_bytes += n_bytes
        return True

    def release(self) -> None:
        """Give everything back, for good; a second time does nothing."""
        self._released = True
        self._budget.used_bytes -= self._n_bytes
        self._n_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def check_budget(budget: MemoryBudget, n_bytes: int) -> None:
    """Raises MemoryFull if the budget has no room for a body of `n_bytes`."""
    if budget.used_bytes + n_bytes > budget.limit_bytes:
        raise MemoryFull


def check_wait(estimated_wait_s: float, max_queue_s: float) -> None:
    """Raises Overloaded if the queued work takes longer than MAX_QUEUE_SECONDS."""
    if estimated_wait_s > max_queue_s:
        raise Overloaded(
            f"About {estimated_wait_s:.0f} s of work are queued; at most {max_queue_s:.0f} s are accepted. "
            "Try again later.",
            retry_after_s=estimated_wait_s - max_queue_s,
        )

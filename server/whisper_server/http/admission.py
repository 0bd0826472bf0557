"""Admission: refuses a request that is one too many, that the memory budget has no room for, or that would wait too long.

Pure: numbers in, exceptions out. Nothing here waits or knows HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from whisper_server.errors import MemoryFull, Overloaded, TooManyRequests
from whisper_server.memory_budget import MemoryBudget


class RequestSlots:
    """The transcriptions and translations that are handled at a time: each takes descriptors and buffers."""

    def __init__(self, n_slots: int) -> None:
        self.n_slots = n_slots
        self.n_taken = 0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a slot. Raises TooManyRequests at once if none is free."""
        if self.n_taken >= self.n_slots:
            raise TooManyRequests(self.n_slots)
        self.n_taken += 1
        try:
            yield
        finally:
            self.n_taken -= 1


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

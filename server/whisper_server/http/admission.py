"""Admission: refuses a request that is one too many, that has no room in the memory budget, that would wait or take too long.

Pure: numbers in, exceptions out. Nothing here waits or knows HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from whisper_server.errors import Overloaded, TooManyRequests, TooMuchWork
from whisper_server.memory.budget import MemoryBudget


class RequestSlots:
    """The transcriptions and translations that are handled at a time: each takes descriptors and buffers."""

    def __init__(self, n_slots: int) -> None:
        self.n_slots = n_slots
        self.n_taken = 0
        self._n_by_owner: dict[str, int] = {}

    @contextmanager
    def taken(self, owner: str = "") -> Iterator[None]:
        """Hold a slot. Raises TooManyRequests at once if none is free.

        The last sixteenth is for owners that hold no more than that, as in the memory budget.
        """
        n_held, n_for_newcomers = self._n_by_owner.get(owner, 0), self.n_slots // 16
        if self.n_taken >= self.n_slots - (0 if n_held < n_for_newcomers else n_for_newcomers):
            raise TooManyRequests(self.n_slots)
        self.n_taken += 1
        self._n_by_owner[owner] = n_held + 1
        try:
            yield
        finally:
            self.n_taken -= 1
            self._n_by_owner[owner] -= 1
            if not self._n_by_owner[owner]:
                del self._n_by_owner[owner]


def check_budget(budget: MemoryBudget, n_bytes: int, owner: str = "") -> None:
    """Raises MemoryFull or RateLimited if there is no room for a body of `n_bytes` from `owner`."""
    refusal = budget.refusal(owner, n_bytes)
    if refusal is not None:
        raise refusal


def check_wait(estimated_wait_s: float, max_queue_s: float) -> None:
    """Raises Overloaded if what comes before the request takes longer than MAX_QUEUE_SECONDS."""
    if estimated_wait_s > max_queue_s:
        raise Overloaded(
            f"About {estimated_wait_s:.0f} s of work are queued before this request; at most {max_queue_s:.0f} s are "
            "accepted (MAX_QUEUE_SECONDS). Try again later.",
            retry_after_s=estimated_wait_s - max_queue_s,
        )


def check_work(audio_s: float, work_s: float, max_queue_s: float) -> None:
    """Raises TooMuchWork if the recording alone takes longer than MAX_QUEUE_SECONDS."""
    if work_s > max_queue_s:
        raise TooMuchWork(
            f"The recording of {audio_s:.0f} s takes this server about {work_s:.0f} s, more than the {max_queue_s:g} s that "
            f"a request may take (MAX_QUEUE_SECONDS). Send it in parts of {max(1, int(audio_s * max_queue_s / work_s))} s "
            "or less."
        )

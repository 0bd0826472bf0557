"""Admission: refuses a request that the memory budget has no room for, that would wait too long, or that takes too long.

Pure: numbers in, exceptions out. Nothing here waits or knows HTTP.
"""

from __future__ import annotations

from whisper_server.errors import Overloaded, TooMuchWork
from whisper_server.memory_budget import MemoryBudget


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

"""The bytes that all requests together may hold in uploads and samples, and each request's share of them.

Only counts: nothing here allocates, waits or knows HTTP.
"""

from __future__ import annotations

import sys
from typing import Self

from whisper_server.errors import ApiError, AudioTooLong, MemoryFull, RateLimited

_NEWCOMERS_SHARE = 1 / 16
_MAX_NEWCOMERS_BYTES = 64 * 1024 * 1024
"""The last 64 MiB, or 1/16 of a smaller budget, are for owners that hold no more than that: two recordings of four hours by
one client would otherwise leave no room for anybody's clip."""


SERVER = "(server)"
"""The owner of what the server starts for several clients: no client's limit applies to it."""


class MemoryBudget:
    """A limit in bytes and the sum of all reservations, by owner."""

    def __init__(self, limit_bytes: int, *, max_owner_bytes: int = 0) -> None:
        """`max_owner_bytes`: what one owner may hold (MAX_BYTES_PER_CLIENT); 0: no limit but the budget's."""
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._max_owner_bytes = max_owner_bytes
        self._newcomers_bytes = _newcomers_bytes(limit_bytes)
        self._held_bytes: dict[str, int] = {}

    @classmethod
    def unlimited(cls) -> Self:
        """Grants every request: for the command line, where one user owns the machine."""
        return cls(sys.maxsize)

    def limit_to(self, n_bytes: int) -> None:
        """Set another limit, once it is known what the server takes by itself."""
        self.limit_bytes = n_bytes
        self._newcomers_bytes = _newcomers_bytes(n_bytes)

    def reservation(self, owner: str = "") -> Reservation:
        """An empty reservation; it grows as bytes arrive."""
        return Reservation(self, owner)

    def held_bytes(self, owner: str) -> int:
        """What all requests of an owner hold."""
        return self._held_bytes.get(owner, 0)

    def refusal(self, owner: str, n_bytes: int, request_bytes: int = 0) -> ApiError | None:
        """Why `owner` cannot get `n_bytes` more; None if it can. `request_bytes`: what the request holds already."""
        held_bytes = self.held_bytes(owner) + n_bytes
        if request_bytes + n_bytes > self.limit_bytes:
            return AudioTooLong(
                "The recording is too long: its samples take more memory than this server has for all requests together "
                "(MEMORY_BUDGET_BYTES). Send it in parts."
            )
        max_owner_bytes = 0 if owner == SERVER else self._max_owner_bytes
        if max_owner_bytes and request_bytes + n_bytes > max_owner_bytes:
            return AudioTooLong(
                "The recording is too long: its samples take more memory than one client may hold "
                f"(MAX_BYTES_PER_CLIENT, {max_owner_bytes} bytes). Send it in parts."
            )
        if max_owner_bytes and held_bytes > max_owner_bytes:
            return RateLimited(
                f"Your requests hold {self.held_bytes(owner)} bytes of recordings; a client may hold "
                f"{max_owner_bytes} (MAX_BYTES_PER_CLIENT). Send fewer at a time.",
                reason="client_bytes",
                retry_after_s=5,
            )
        is_alone = self.used_bytes == request_bytes
        room_for_others = 0 if is_alone or held_bytes <= self._newcomers_bytes else self._newcomers_bytes
        return MemoryFull() if self.used_bytes + n_bytes > self.limit_bytes - room_for_others else None

    def take(self, owner: str, n_bytes: int) -> None:
        """Count bytes in, or out if the number is negative."""
        self.used_bytes += n_bytes
        held_bytes = self._held_bytes.get(owner, 0) + n_bytes
        if held_bytes:
            self._held_bytes[owner] = held_bytes
        else:
            self._held_bytes.pop(owner, None)


class Reservation:
    """One request's share of the budget; a context manager that releases it.

    `AudioDecoderPool.read_audio` owns the reservation that it gets: it releases it when reading fails or is
    cancelled, else when the `DecodedAudio` is closed. Exactly one of the two happens.
    """

    def __init__(self, budget: MemoryBudget, owner: str = "") -> None:
        self._budget = budget
        self._owner = owner
        self._n_bytes = 0
        self._released = False
        self.refusal: ApiError | None = None
        """Why the last growth was refused."""

    def grow(self, n_bytes: int) -> bool:
        """Take `n_bytes` more. False: there is no room, and nothing was taken; `refusal` says why."""
        self.refusal = self._budget.refusal(self._owner, n_bytes, self._n_bytes)
        if self._released or self.refusal is not None:
            return False
        self._budget.take(self._owner, n_bytes)
        self._n_bytes += n_bytes
        return True

    def shrink(self, n_bytes: int) -> None:
        """Give `n_bytes` back; the reservation may grow again. Never gives back more than it holds."""
        n_bytes = min(n_bytes, self._n_bytes)
        self._budget.take(self._owner, -n_bytes)
        self._n_bytes -= n_bytes

    def release(self) -> None:
        """Give everything back and refuse all later growth. May be called twice."""
        self._released = True
        self.shrink(self._n_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _newcomers_bytes(limit_bytes: int) -> int:
    return min(_MAX_NEWCOMERS_BYTES, int(limit_bytes * _NEWCOMERS_SHARE))

"""Quotas of each owner: requests at a time and seconds of audio per minute. `MemoryBudget` has the bytes.

Counts only; 0 is no limit. Refusals name the limit and its setting, and every answer has OpenAI's `x-ratelimit-*` headers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from whisper_server.errors import RateLimited

_MINUTE_S = 60.0


@dataclass(frozen=True)
class QuotaLimits:
    """Of each owner."""

    max_requests: int = 0
    max_audio_s_per_minute: float = 0


@dataclass
class _Bucket:
    """Seconds of audio that may be sent; negative after a recording that was longer than that."""

    left_s: float
    at_s: float


class Quotas:
    """What each owner has in use. Owners that use nothing are forgotten."""

    def __init__(self, limits: QuotaLimits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._n_requests: dict[str, int] = {}
        self._buckets: dict[str, _Bucket] = {}

    @contextmanager
    def request(self, owner: str) -> Iterator[None]:
        """Count a request in while it runs. Raises RateLimited."""
        n_requests, limit = self._n_requests.get(owner, 0), self._limits.max_requests
        if limit and n_requests >= limit:
            raise RateLimited(
                f"You have {n_requests} requests in flight, and a client may have {limit} at a time "
                "(MAX_REQUESTS_PER_CLIENT). Wait until one of them is answered.",
                reason="client_requests",
                retry_after_s=1,
            )
        self._check_audio(owner)
        self._n_requests[owner] = n_requests + 1
        try:
            yield
        finally:
            self._n_requests[owner] -= 1
            if not self._n_requests[owner]:
                del self._n_requests[owner]

    def spend_audio(self, owner: str, audio_s: float) -> None:
        """Count a recording. Raises RateLimited if earlier ones have used the minute up.

        A recording may be longer than what is left, so that a long one can be sent at all; then the next ones wait longer.
        """
        if self._limits.max_audio_s_per_minute:
            self._check_audio(owner)
            self._bucket(owner).left_s -= audio_s

    def headers(self, owner: str) -> dict[str, str]:
        """OpenAI's headers: limit, remaining, and the time until the limit is whole again."""
        headers: dict[str, str] = {}
        if limit := self._limits.max_requests:
            n_left = max(0, limit - self._n_requests.get(owner, 0))
            headers |= _headers("requests", limit, n_left, 0.0 if n_left == limit else 1.0)
        if per_minute := self._limits.max_audio_s_per_minute:
            left_s = self._bucket(owner).left_s
            headers |= _headers("audio-seconds", per_minute, left_s, (per_minute - left_s) * _MINUTE_S / per_minute)
        return headers

    def _check_audio(self, owner: str) -> None:
        per_minute = self._limits.max_audio_s_per_minute
        if not per_minute or (left_s := self._bucket(owner).left_s) > 0:
            return
        wait_s = max(1.0, (1 - left_s) * _MINUTE_S / per_minute)
        raise RateLimited(
            f"You have sent more than the {per_minute:g} s of audio per minute that a client may send "
            f"(MAX_AUDIO_SECONDS_PER_MINUTE). Try again in {wait_s:.0f} s.",
            reason="client_audio_seconds",
            retry_after_s=wait_s,
        )

    def _bucket(self, owner: str) -> _Bucket:
        """The owner's bucket, filled up to now."""
        now_s, per_minute = self._clock(), self._limits.max_audio_s_per_minute
        if owner not in self._buckets:
            self._forget_full(now_s)
        bucket = self._buckets.setdefault(owner, _Bucket(per_minute, now_s))
        bucket.left_s = min(per_minute, bucket.left_s + (now_s - bucket.at_s) * per_minute / _MINUTE_S)
        bucket.at_s = now_s
        return bucket

    def _forget_full(self, now_s: float) -> None:
        """Addresses are many: a bucket that is full again says nothing."""
        per_minute = self._limits.max_audio_s_per_minute
        full = [
            owner
            for owner, bucket in self._buckets.items()
            if bucket.left_s + (now_s - bucket.at_s) * per_minute / _MINUTE_S >= per_minute
        ]
        for owner in full:
            del self._buckets[owner]


def _headers(what: str, limit: float, left: float, reset_s: float) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{what}": f"{limit:g}",
        f"x-ratelimit-remaining-{what}": f"{max(0.0, left):.0f}",
        f"x-ratelimit-reset-{what}": f"{reset_s:.0f}s",
    }

"""What a session costs, counted by the server: sound in quotas, bytes in the memory budget, delays and refusals in metrics."""

from __future__ import annotations

from typing import Protocol

from whisper_server.errors import ApiError, MemoryFull
from whisper_server.http.quotas import Quotas
from whisper_server.memory.budget import Reservation
from whisper_server.metrics import Metrics

SESSION_BYTES = 4 * 1024 * 1024
"""Sound and buffers of a session whose client sends as fast as it speaks: 30 s of samples take 2 MB."""


class Account(Protocol):
    """As a session sees it, in the server's process or in another one."""

    async def count(self, audio_s: float, n_bytes: int) -> None:
        """So many more seconds have arrived, and the session's buffer takes so many bytes. Raises ApiError."""

    def note_delay(self, delay_s: float) -> None:
        """Words were sent so many seconds after their sound had arrived."""

    def note_refusal(self, error: ApiError) -> None:
        """An event was refused."""


class SessionAccount:
    """Of one session, in the server's process."""

    def __init__(self, owner: str, quotas: Quotas, metrics: Metrics, reservation: Reservation) -> None:
        """Raises ApiError if there is no memory for the session."""
        self._owner = owner
        self._quotas = quotas
        self._metrics = metrics
        self._reservation = reservation
        self._held_bytes = 0
        self._hold(SESSION_BYTES)

    async def count(self, audio_s: float, n_bytes: int) -> None:
        """As `take`."""
        self.take(audio_s, n_bytes)

    def take(self, audio_s: float, n_bytes: int) -> None:
        """As `Account.count`."""
        self._quotas.spend_audio(self._owner, audio_s)
        self._metrics.audio_seconds.inc(audio_s)
        if SESSION_BYTES + n_bytes != self._held_bytes:
            self._hold(SESSION_BYTES + n_bytes)

    def note_delay(self, delay_s: float) -> None:
        self._metrics.realtime_delta_seconds.observe(delay_s)

    def note_refusal(self, error: ApiError) -> None:
        self._metrics.rejected.labels(error.reason or error.code or str(error.status)).inc()

    def _hold(self, n_bytes: int) -> None:
        more = n_bytes - self._held_bytes
        if more > 0 and not self._reservation.grow(more):
            raise self._reservation.refusal or MemoryFull()
        if more < 0:
            self._reservation.shrink(-more)
        self._held_bytes = n_bytes

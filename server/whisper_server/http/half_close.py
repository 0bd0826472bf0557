"""A client that stops sending (TCP half-close) after a whole request, and how it differs from one that has left.

Both send a FIN. Only a socket that is closed answers further data with a reset, so the server sends what every HTTP/1.1
client must ignore, `100 Continue`, and checks for the reset. Go's client accepts five such answers, so few are sent.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

PROBE = b"HTTP/1.1 100 Continue\r\n\r\n"
STEPS: tuple[tuple[float, bool], ...] = (
    (0.0, True),
    (0.05, False),
    (0.5, False),
    (15.0, True),
    (0.5, False),
    (60.0, True),
    (0.5, False),
    (240.0, True),
    (0.5, False),
)
"""Seconds after the previous step, and whether a probe is sent. Every step checks for a reset."""


class HalfClosed:
    """Watches one connection until its answer begins; aborts it if the client has left."""

    def __init__(self, transport: asyncio.Transport, may_probe: Callable[[], bool | None]) -> None:
        """`may_probe` returns None if the client cannot be waiting for an answer, False if the answer has begun."""
        self._transport = transport
        self._may_probe = may_probe
        self._steps = iter(STEPS)
        self._handle: asyncio.TimerHandle | None = None
        self._schedule()

    def stop(self) -> None:
        """Stop watching."""
        if self._handle is not None:
            self._handle.cancel()

    def _schedule(self) -> None:
        step = next(self._steps, None)
        if step is not None:
            wait_s, sends = step
            self._handle = asyncio.get_running_loop().call_later(wait_s, self._look, sends)

    def _look(self, sends: bool) -> None:
        self._handle = None
        sock: socket.socket | None = self._transport.get_extra_info("socket")
        if self._transport.is_closing() or sock is None:
            return
        may_probe = self._may_probe()
        if may_probe is None or sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._transport.abort()
            return
        if may_probe:
            if sends:
                self._transport.write(PROBE)
            self._schedule()

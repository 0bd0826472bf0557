"""The server's end of a decoder worker's connection: datagrams, one at a time, without a task for each.

The event loop watches the socket as long as it is open. A worker speaks only when it is spoken to: an unasked datagram is
left in the kernel until the server waits for it, so a worker cannot fill the server's memory.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence


class WorkerSocket:
    """A connected SOCK_SEQPACKET socket."""

    def __init__(self, connection: socket.socket, max_message_bytes: int) -> None:
        """Takes the socket over."""
        connection.settimeout(0)
        self._connection = connection
        self._max_message_bytes = max_message_bytes
        self._waiting: asyncio.Future[bytes] | None = None
        self._is_watched = False

    @property
    def is_waited_for(self) -> bool:
        """Whether a call of `receive` is under way."""
        return self._waiting is not None

    def send(self, datagram: bytes, descriptors: Sequence[int] = ()) -> None:
        """Raises OSError if the other end is gone, or does not read."""
        if descriptors:
            socket.send_fds(self._connection, [datagram], descriptors)
        else:
            self._connection.send(datagram)

    async def receive(self, next_check_s: Callable[[], float]) -> bytes:
        """The next datagram; empty if the other end is gone.

        `next_check_s` returns the seconds after which it is called again, and raises what ends the wait.
        """
        assert self._waiting is None, "one receiver at a time"
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[bytes] = loop.create_future()
        self._waiting = waiting
        timer: asyncio.TimerHandle | None = None

        def check() -> None:
            nonlocal timer
            try:
                timer = loop.call_later(next_check_s(), check)
            except Exception as error:  # noqa: BLE001 - it is raised by `receive`
                if not waiting.done():
                    waiting.set_exception(error)

        check()
        try:
            self._watch()
            return await waiting
        finally:
            self._waiting = None
            if timer is not None:
                timer.cancel()

    def close(self) -> None:
        """Wakes no receiver: call it when nothing `is_waited_for`. May be called twice."""
        self._unwatch()
        self._connection.close()

    def _watch(self) -> None:
        if not self._is_watched:
            self._is_watched = True
            asyncio.get_running_loop().add_reader(self._connection, self._read)

    def _unwatch(self) -> None:
        if self._is_watched:
            self._is_watched = False
            asyncio.get_running_loop().remove_reader(self._connection)

    def _read(self) -> None:
        if self._waiting is None or self._waiting.done():
            self._unwatch()
            return
        try:
            datagram = self._connection.recv(self._max_message_bytes)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            datagram = b""
        self._waiting.set_result(datagram)

"""Accepts connections only while there are descriptors for them; further clients wait in the kernel's queue.

asyncio's own servers accept until the process has no descriptor left. Then files in memory cannot be opened, and
requests that were admitted fail: of 600 uploads at a time on 512 descriptors 439 were answered with 500.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from dataclasses import dataclass

from aiohttp import web

from whisper_server.http.protocol import HttpRunner

log = logging.getLogger(__name__)

BACKLOG = 1024
"""Clients that wait in the kernel."""
BURST = 32
"""Connections accepted per iteration of the event loop."""
PAUSE_S = 0.05
"""Between two looks whether a busy connection has ended or become idle."""
RESERVED_DESCRIPTORS = 128
"""For everything but clients: libraries, listeners, a burst of connections, an engine's process …"""
DESCRIPTORS_PER_WORKER = 6
"""A decoder's socket and pidfd; while it is replaced, also both ends of a new socket and a pipe."""
DESCRIPTORS_PER_REQUEST = 2
"""Upload and samples, besides the connection."""


@dataclass(frozen=True)
class DescriptorPlan:
    """How many connections and requests the limit of descriptors allows."""

    n_connections: int
    n_requests: int
    """Transcriptions and translations at a time. The other connections are idle or being refused."""


def plan_descriptors(n_descriptors: int, n_decode_workers: int) -> DescriptorPlan:
    """Half of the descriptors that are free for clients goes to connections, half to the requests on half of them."""
    reserved = min(RESERVED_DESCRIPTORS + DESCRIPTORS_PER_WORKER * n_decode_workers, n_descriptors // 2)
    n_connections = max(2, (n_descriptors - reserved) // 2)
    return DescriptorPlan(n_connections, n_connections // DESCRIPTORS_PER_REQUEST)


def max_descriptors() -> int:
    """How many descriptors this process may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Listener(web.BaseSite):
    """aiohttp's TCPSite, except that it stops accepting while every connection that it may have is busy."""

    def __init__(self, runner: HttpRunner, interface: str, port: int) -> None:
        super().__init__(runner)
        self._http = runner.http_server
        self._interface = interface
        self.port = port
        """The port listened on, once started."""
        self._sockets: list[socket.socket] = []
        self._resuming: dict[socket.socket, asyncio.TimerHandle] = {}
        self._connecting: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        return f"http://{self._interface}:{self.port}"

    async def start(self) -> None:
        """Raises OSError, UnicodeError."""
        await super().start()
        # Resolves the name and binds; connections are accepted below.
        bound = await asyncio.get_running_loop().create_server(
            self._http, self._interface, self.port, start_serving=False
        )
        self._sockets = [each.dup() for each in bound.sockets]
        bound.close()
        for each in self._sockets:
            each.settimeout(0)
            each.listen(BACKLOG)
            self._resume(each)
        self.port = self._sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Accept no further connection; those that were accepted are served."""
        await super().stop()
        for handle in self._resuming.values():
            handle.cancel()
        for each in self._sockets:
            asyncio.get_running_loop().remove_reader(each)
            each.close()

    def _resume(self, listening: socket.socket) -> None:
        self._resuming.pop(listening, None)
        asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _pause(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening)
        self._resuming[listening] = loop.call_later(PAUSE_S, self._resume, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(BURST):
            if not self._http.has_room(len(self._connecting)):
                self._pause(listening)
                return
            try:
                accepted, _address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as problem:
                log.warning("a connection is not accepted: %s", problem.strerror)
                self._pause(listening)
                return
            connecting = asyncio.get_running_loop().create_task(self._connect(accepted))
            self._connecting.add(connecting)
            connecting.add_done_callback(self._connecting.discard)
            self._http.make_room(len(self._connecting))

    async def _connect(self, accepted: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._http, accepted)
        except OSError as problem:
            accepted.close()
            log.debug("a connection is lost before it is served: %s", problem)

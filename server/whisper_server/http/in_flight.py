"""The requests that are being handled or answered: counted in and out exactly once, however they end.

Who is told of it, and what a request is, belong elsewhere.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from aiohttp import web

from whisper_server.http.request_record import RequestRecord
from whisper_server.logs import REQUEST_ID

RECORD = web.RequestKey("record", RequestRecord)


class RequestObserver(Protocol):
    """Who wants to know of requests."""

    def begun(self, request: web.BaseRequest) -> None:
        """The head was read."""

    def ended(self, request: web.BaseRequest, response: web.StreamResponse | None) -> None:
        """Answered; or, without a response, the client left first. Once a request."""


class InFlightRequests:
    """At most one a connection: what is pipelined behind it waits."""

    def __init__(self, observer: RequestObserver) -> None:
        self._observer = observer
        self._on_connection: dict[web.RequestHandler, web.BaseRequest] = {}
        self._nothing_runs = asyncio.Event()
        self._nothing_runs.set()

    def __len__(self) -> int:
        return len(self._on_connection)

    def on(self, connection: web.RequestHandler) -> web.BaseRequest | None:
        """The request of this connection; None while it is idle."""
        return self._on_connection.get(connection)

    def begin(self, request: web.BaseRequest) -> None:
        """Count the request in; a second call does nothing."""
        record = request[RECORD]
        if record.begun:
            return
        record.begun = True
        REQUEST_ID.set(record.request_id)
        self._on_connection[request.protocol] = request
        self._nothing_runs.clear()
        self._observer.begun(request)

    def end(self, request: web.BaseRequest, response: web.StreamResponse | None) -> None:
        """Count the request out; a second call does nothing."""
        record = request[RECORD]
        if record.ended or not record.begun:
            return
        record.ended = True
        del self._on_connection[request.protocol]
        if not self._on_connection:
            self._nothing_runs.set()
        self._observer.ended(request, response)

    async def finished(self, timeout_s: float) -> bool:
        """Wait for all of them; False where they did not end in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._nothing_runs.wait()
        except TimeoutError:
            return False
        return True

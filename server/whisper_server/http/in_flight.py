"""The requests in flight: each is counted in and out exactly once, however it ends."""

from __future__ import annotations

import asyncio
from typing import Protocol

from aiohttp import web

from whisper_server.http.request_record import RequestRecord
from whisper_server.process.logs import REQUEST_ID

RECORD = web.RequestKey("record", RequestRecord)


class RequestObserver(Protocol):
    """Receives the beginning and the end of every request."""

    def begun(self, request: web.BaseRequest) -> None:
        """The head of a request was read."""

    def ended(self, request: web.BaseRequest, response: web.StreamResponse | None) -> None:
        """Called once per request: answered, or, without a response, the client left first."""


class InFlightRequests:
    """At most one per connection: pipelined requests behind it wait."""

    def __init__(self, observer: RequestObserver) -> None:
        self._observer = observer
        self._on_connection: dict[web.RequestHandler, web.BaseRequest] = {}
        self._none_in_flight = asyncio.Event()
        self._none_in_flight.set()

    def __len__(self) -> int:
        return len(self._on_connection)

    def on(self, connection: web.RequestHandler) -> web.BaseRequest | None:
        """The request in flight on this connection; None while it is idle."""
        return self._on_connection.get(connection)

    def begin(self, request: web.BaseRequest) -> None:
        """Count the request in; a second call does nothing."""
        record = request[RECORD]
        if record.begun:
            return
        record.begun = True
        REQUEST_ID.set(record.request_id)
        self._on_connection[request.protocol] = request
        self._none_in_flight.clear()
        self._observer.begun(request)

    def end(self, request: web.BaseRequest, response: web.StreamResponse | None) -> None:
        """Count the request out; a second call does nothing."""
        record = request[RECORD]
        if record.ended or not record.begun:
            return
        record.ended = True
        del self._on_connection[request.protocol]
        if not self._on_connection:
            self._none_in_flight.set()
        self._observer.ended(request, response)

    async def finished(self, timeout_s: float) -> bool:
        """Wait until no request is in flight; False if `timeout_s` passes first."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._none_in_flight.wait()
        except TimeoutError:
            return False
        return True

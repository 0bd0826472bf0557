"""One client's connection: what aiohttp does, with every error in OpenAI's shape and nobody waiting for ever.

Of requests that came through whole, `http_protocol` takes care.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import hdrs, web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError

from whisper_server.http.error_responses import error_response, parser_error
from whisper_server.http.in_flight import RECORD, InFlightRequests

log = logging.getLogger(__name__)

AddCommonHeaders = Callable[[web.BaseRequest, web.StreamResponse], None]
"""Adds to an answer what every answer carries. May be called twice on one."""


@dataclass(frozen=True)
class ConnectionTimes:
    """How long a client may do nothing useful."""

    head_s: float = 75.0
    """Without a complete request head, be it silent from the start or one byte at a time."""
    keepalive_s: float = 4200.0
    """Silent between two requests. Longer than any proxy keeps a connection that it does not use (Envoy for an hour, ALB
    for 4000 s at most): were it ours to close, a proxy would now and then send a request into the closing
    connection, and it may not send it again."""
    vanished_s: float = 60.0
    """Silent before it is asked whether its machine is still there."""
    lingering_s: float = 5.0
    """Sending on after its request was refused: it is read, so that it comes to read the answer, and then cut."""
    stalled_write_s: float = 75.0
    """Taking nothing of its answer."""


class Connection(web.RequestHandler):
    """One client's connection."""

    def __init__(
        self,
        server: web.Server,
        in_flight: InFlightRequests,
        add_common_headers: AddCommonHeaders,
        *,
        times: ConnectionTimes,
        **kwargs: Any,
    ) -> None:
        super().__init__(server, keepalive_timeout=times.keepalive_s, lingering_time=times.lingering_s, **kwargs)
        self._under_way = in_flight
        self._add_common_headers = add_common_headers
        self._times = times
        self._head_limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            # A client that reads no more would keep its answer, and with it the connection, for ever.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._times.stalled_write_s * 1000))
            # One whose machine has gone without a word would keep its idle connection for over an hour.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, int(self._times.vanished_s))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
        self._head_limit = asyncio.get_running_loop().call_later(self._times.head_s, self._end_without_head)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._forget_head_limit()
        super().connection_lost(exc)

    def _end_without_head(self) -> None:
        self._head_limit = None
        if self.waits_for_head:
            self.force_close()

    @property
    def waits_for_head(self) -> bool:
        """Between requests, or before the first."""
        return self._waiter is not None and not self._waiter.done() and not self._messages

    def _forget_head_limit(self) -> None:
        if self._head_limit is not None:
            self._head_limit.cancel()
            self._head_limit = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.waits_for_head:
            if self._request_count > 0:
                self._forget_head_limit()
        elif self._head_limit is None:
            self._head_limit = asyncio.get_running_loop().call_later(self._times.head_s, self._end_without_head)
        request = self._under_way.on(self)
        if request is None or request.content.is_eof() or not self._messages:
            return
        if not isinstance(self._messages[-1][0], RawRequestMessage):
            # The parser gave up on the body's chunks. aiohttp has put a 400 in the queue behind this request,
            # but does not tell the handler, which would wait for the rest until its time is over.
            request.content.set_exception(web.RequestPayloadError("The body's chunks are malformed"))
            # A reader that was just woken for the last good bytes waits again without a look at the exception.
            request.content.feed_eof()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if not resp.prepared:
            self._add_common_headers(request, resp)
            if request.content.exception() is not None:
                # The body broke off or was malformed: nothing after it can be understood.
                resp.force_close()
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._under_way.end(request, resp)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Only what the parser refuses comes here: `HttpServer` catches all else."""
        self._under_way.begin(request)
        if request.writer.output_size > 0:
            self._under_way.end(request, None)
            raise ConnectionResetError("The answer has begun: it cannot become an error any more")
        error = parser_error(exc)
        request[RECORD].error_code = error.code or ""
        if error.status >= 500:
            log.error("Request failed: %s (%d)", message, status, exc_info=exc)
        response = error_response(error)
        response.force_close()
        # aiohttp takes what it cannot parse for HTTP/1.0, where this goes without saying.
        response.headers[hdrs.CONNECTION] = "close"
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Called for bodies that broke off as well, which is the client's affair."""
        if isinstance(kw.get("exc_info"), web.RequestPayloadError | HttpProcessingError | ConnectionError):
            log.debug(*args)
        else:
            log.error(*args, **kw)

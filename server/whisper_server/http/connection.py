"""One client's connection: aiohttp's, with every error in OpenAI's shape and a time limit on every wait.

`protocol` handles the requests that were parsed.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError

from whisper_server.http.bodies import BODY_READ_BYTES, READ_BYTES, SEND_BUFFER_BYTES, WRITE_BUFFER_BYTES
from whisper_server.http.error_responses import error_response, parser_error
from whisper_server.http.half_close import HalfClosed
from whisper_server.http.in_flight import RECORD, InFlightRequests

log = logging.getLogger(__name__)

MAX_PARSING_S = 0.004
"""Of the bytes of one read, in CPU time."""
MIN_READ_BYTES = 4_096

AddCommonHeaders = Callable[[web.BaseRequest, web.StreamResponse], None]
"""Adds the headers of every answer. May be called twice on one answer."""


@dataclass(frozen=True)
class ConnectionTimes:
    """Time limits on what a client does."""

    head_s: float = 75.0
    """For a complete request head, counted from the connection or from its first byte."""
    keepalive_s: float = 4200.0
    """Idle between two requests. Longer than any proxy keeps an idle connection (Envoy an hour, ALB 4000 s at most): if
    the server closed first, a proxy would now and then send a request into the closing connection, and a proxy may not
    send a POST again."""
    vanished_s: float = 60.0
    """Idle before TCP keep-alive probes whether the client's machine still exists."""
    lingering_s: float = 5.0
    """Still sending after its request was refused: the body is read, so that the client reads the answer, then cut."""
    min_idle_s: float = 1.0
    """Without a request before the connection may be closed for another one: a head may be on its way."""
    stalled_write_s: float = 75.0
    """Reading nothing of its answer."""


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
        self._in_flight = in_flight
        self._add_common_headers = add_common_headers
        self._times = times
        self._head_limit: asyncio.TimerHandle | None = None
        self._half_closed: HalfClosed | None = None
        self._is_websocket = False
        self._read_bytes = READ_BYTES
        self._is_reading_paused = False
        self._quiet_since_s = asyncio.get_running_loop().time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(transport, asyncio.WriteTransport)
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        # asyncio reads 256 KiB at a time: in chunks of one byte the parser needs 80 ms for that.
        transport.max_size = self._read_bytes  # type: ignore[attr-defined] # an attribute of asyncio's own transports
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            # Unread answers in the kernel count in the container's memory as well; by itself it takes 4 MB for each.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            # A client that stops reading would otherwise keep its answer and the connection without limit.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._times.stalled_write_s * 1000))
            # A client whose machine vanished would otherwise keep its idle connection for over an hour.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, int(self._times.vanished_s))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
        self._head_limit = asyncio.get_running_loop().call_later(self._times.head_s, self._end_without_head)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._forget_head_limit()
        if self._half_closed is not None:
            self._half_closed.stop()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio's Protocol allows it: True keeps the connection
        """The client stops sending: with a whole request it may still wait for the answer."""
        if self._is_websocket:
            return False  # it ends with a close frame, not with a half-closed connection
        if self.waits_for_head or self._may_probe() is None or not isinstance(self.transport, asyncio.Transport):
            return False
        self._half_closed = HalfClosed(self.transport, self._may_probe)
        return True

    def becomes_websocket(self) -> None:
        """The request upgrades the connection."""
        self._is_websocket = True

    def hand_over(self) -> tuple[socket.socket, bytes]:
        """Another process has it now: its socket, and what came behind the request; reading is paused. Raises ConnectionResetError."""
        if self.transport is None:
            raise ConnectionResetError("The client has left")
        self.close()  # after this request; the client's connection once the process closes it, too
        behind, self._message_tail = self._message_tail, b""
        return self.transport.get_extra_info("socket"), behind

    def _may_probe(self) -> bool | None:
        """True while a whole request waits for its answer; None if no answer can be waited for."""
        request = self._in_flight.on(self)
        if request is None:  # its task starts in the next iteration
            return None if self._messages and not self._messages[0][1].is_eof() else True
        if not request.content.is_eof() or request.version < HttpVersion11:
            return None  # HTTP/1.0 knows no interim answers: its clients count as gone, as with other servers
        return request.writer.output_size == 0

    def _end_without_head(self) -> None:
        self._head_limit = None
        if self.waits_for_head:
            self.force_close()

    @property
    def waits_for_head(self) -> bool:
        """Between requests, or before the first."""
        return self._waiter is not None and not self._waiter.done() and not self._messages

    @property
    def may_be_closed(self) -> bool:
        """Idle for long enough that another connection may have its place, with nothing unread in the kernel."""
        idle_s = asyncio.get_running_loop().time() - self._quiet_since_s
        return self.waits_for_head and idle_s >= self._times.min_idle_s and not self._has_unread()

    def _has_unread(self) -> bool:
        """A loop that is behind has not read what is there: without an answer, a request would be lost."""
        polling = select.poll()
        if self.transport is not None:
            polling.register(self.transport.get_extra_info("socket"), select.POLLIN)
        return bool(polling.poll(0))

    def _forget_head_limit(self) -> None:
        if self._head_limit is not None:
            self._head_limit.cancel()
            self._head_limit = None

    def pause_reading(self) -> None:
        """More has arrived than is read."""
        self._is_reading_paused = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Only what was paused: aiohttp asks with every piece that is read, and parses nothing each time. Of a body in chunks of
        one byte that was more than half of the CPU time.
        """
        if self._is_reading_paused:
            self._is_reading_paused = False
            super().resume_reading(resume_parser)

    def data_received(self, data: bytes) -> None:
        if self._is_websocket:  # frames, ten a second in each session: what follows is for heads and bodies
            super().data_received(data)
            return
        begin_s = time.thread_time()
        super().data_received(data)
        if time.thread_time() - begin_s > MAX_PARSING_S and isinstance(self.transport, asyncio.Transport):
            # Chunks of one byte take 25 ms for a read: from here on less at a time, so that others wait less.
            self._read_bytes = max(MIN_READ_BYTES, self._read_bytes // 4)
            self.transport.max_size = self._read_bytes  # type: ignore[attr-defined]
        if not self.waits_for_head:
            if self._request_count > 0:
                self._forget_head_limit()
        elif self._head_limit is None:
            self._head_limit = asyncio.get_running_loop().call_later(self._times.head_s, self._end_without_head)
        request = self._in_flight.on(self)
        if isinstance(self.transport, asyncio.Transport):
            self.transport.max_size = self._next_read_bytes(request)  # type: ignore[attr-defined]
        if request is None or request.content.is_eof() or not self._messages:
            return
        if not isinstance(self._messages[-1][0], RawRequestMessage):
            # The parser found malformed chunks. aiohttp queues a 400 behind this request, but does not wake the
            # handler, which would wait for the rest until its time limit.
            request.content.set_exception(web.RequestPayloadError("The body's chunks are malformed"))
            # A reader that was just woken for the last good bytes would wait again without checking the exception.
            request.content.feed_eof()

    def _next_read_bytes(self, request: web.BaseRequest | None) -> int:
        """More while a body of known length arrives, but nothing behind it: a head there may be dear to parse."""
        if request is None or request.content_length is None or request.content.is_eof():
            return self._read_bytes
        n_missing = request.content_length - request.content.total_bytes
        return max(self._read_bytes, min(n_missing, BODY_READ_BYTES))

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if not resp.prepared:
            self._add_common_headers(request, resp)
            if request.content.exception() is not None:
                # The body ended early or was malformed: what follows cannot be parsed.
                resp.force_close()
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._in_flight.end(request, resp)
            self._quiet_since_s = asyncio.get_running_loop().time()
            if self._half_closed is not None and not self._messages:
                self.close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Called for the parser's refusals only; `HttpServer` catches everything else."""
        self._in_flight.begin(request)
        if request.writer.output_size > 0:
            self._in_flight.end(request, None)
            raise ConnectionResetError("The answer has begun and cannot become an error")
        error = parser_error(exc)
        request[RECORD].error_code = error.code or ""
        if error.status >= 500 and not isinstance(exc, ConnectionError):  # that is a client that has left
            log.error("Request failed: %s (%d)", message, status, exc_info=exc)
        response = error_response(error)
        response.force_close()
        # aiohttp treats what it cannot parse as HTTP/1.0, where closing is the default and the header is left out.
        response.headers[hdrs.CONNECTION] = "close"
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Also called for bodies that ended early, which is the client's fault and logged at DEBUG."""
        if isinstance(kw.get("exc_info"), web.RequestPayloadError | HttpProcessingError | ConnectionError):
            log.debug(*args)
        else:
            log.error(*args, **kw)

"""aiohttp's connection handling, bent to one shape of error and to a drain that loses nothing.

aiohttp answers what its parser or router refuses in text, and forgets requests whose client left. Here each
request gets a record, an answer in OpenAI's error shape, and one call of the observer at its end.
Which errors there are and what routes do is not known here.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError

from whisper_server.errors import ApiError
from whisper_server.http_errors import RoutingError, body_error, crash_error, error_response, parser_error
from whisper_server.logs import REQUEST_ID
from whisper_server.request_record import RequestRecord, request_id_from

log = logging.getLogger(__name__)

RECORD = web.RequestKey("record", RequestRecord)


class Observer(Protocol):
    """Who wants to know of requests."""

    def begun(self, request: web.BaseRequest) -> None:
        """The head was read."""

    def ended(self, request: web.BaseRequest, response: web.StreamResponse | None) -> None:
        """Answered; or, without a response, the client left first. Once a request."""


Stamp = Callable[[web.BaseRequest, web.StreamResponse], None]
"""Adds to an answer what every answer carries. May be called twice on one."""


async def expect_later(request: web.Request) -> None:
    """The hook for `Expect`: no `100 Continue` yet; `send_continue` follows where the request is let in."""
    if request.version >= HttpVersion11 and not _wants_continue(request):
        raise web.HTTPExpectationFailed


async def send_continue(request: web.Request) -> None:
    """Ask a client that waits for it to send the body now."""
    if request.version < HttpVersion11 or not _wants_continue(request):
        return
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    # What counts as the begun answer starts after this.
    request.writer.output_size = 0


def _wants_continue(request: web.Request) -> bool:
    return request.headers.get(hdrs.EXPECT, "").lower() == "100-continue"


class Connection(web.RequestHandler):
    """One client's connection."""

    def __init__(self, server: HttpServer, *, stalled_write_s: float, **kwargs: Any) -> None:
        super().__init__(server, **kwargs)
        self._http_server = server
        self._stalled_write_s = stalled_write_s
        self.request: web.BaseRequest | None = None
        """The one that is being handled or answered."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A client that reads no more would keep its answer, and with it the connection, for ever.
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._stalled_write_s * 1000))
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        request = self.request
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
            self._http_server.stamp(request, resp)
            if request.content.exception() is not None:
                # The body broke off or was malformed: nothing after it can be understood.
                resp.force_close()
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._http_server.end(request, resp)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Only what the parser refuses comes here: `HttpServer.answer` catches all else."""
        self._http_server.begin(request)
        if request.writer.output_size > 0:
            self._http_server.end(request, None)
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


class HttpServer(web.Server):
    """Makes connections, and answers every request with something."""

    def __init__(
        self,
        answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
        *,
        app: web.Application,
        make_request: Callable[..., web.BaseRequest],
        stamp: Stamp,
        observer: Observer,
        connection_options: dict[str, Any],
    ) -> None:
        super().__init__(cast("Any", self._answer), request_factory=self._make_recorded, handler_cancellation=True)
        self._app_answer = answer
        self._app = app
        self._app_request = make_request
        self.stamp = stamp
        self._observer = observer
        self._connection_options = connection_options
        self.n_running = 0
        """Requests that are being handled or answered."""
        self._nothing_runs = asyncio.Event()
        self._nothing_runs.set()

    def __call__(self) -> Connection:
        return Connection(self, loop=asyncio.get_running_loop(), **self._connection_options)

    def _make_recorded(self, message: Any, *args: Any) -> web.BaseRequest:
        request = self._app_request(message, *args)
        request[RECORD] = RequestRecord(request_id_from(request.headers.get("x-request-id")))
        return request

    def begin(self, request: web.BaseRequest) -> None:
        """Count the request in; a second call does nothing."""
        record = request[RECORD]
        if record.begun:
            return
        record.begun = True
        REQUEST_ID.set(record.request_id)
        cast("Connection", request.protocol).request = request
        self.n_running += 1
        self._nothing_runs.clear()
        self._observer.begun(request)

    def end(self, request: web.BaseRequest, response: web.StreamResponse | None) -> None:
        """Count the request out; a second call does nothing."""
        record = request[RECORD]
        if record.ended or not record.begun:
            return
        record.ended = True
        cast("Connection", request.protocol).request = None
        self.n_running -= 1
        if self.n_running == 0:
            self._nothing_runs.set()
        self._observer.ended(request, response)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.begin(request)
        try:
            if request.headers.get(hdrs.EXPECT):
                await self._refuse_unroutable(request)
            return await self._app_answer(request)
        except asyncio.CancelledError:
            self.end(request, None)
            raise
        except Exception as exc:  # noqa: BLE001 - every request gets an answer
            return self._refusal(request, exc)

    async def _refuse_unroutable(self, request: web.Request) -> None:
        # aiohttp would say `100 Continue` first and 404 when the body is there.
        match = await self._app.router.resolve(request)
        if match.http_exception is not None:
            raise match.http_exception

    def _refusal(self, request: web.Request, exc: Exception) -> web.StreamResponse:
        if request.writer.output_size > 0 or isinstance(exc, ConnectionError):
            # Half an answer is out, or nobody is there to read one: all that is left is to hang up.
            if not isinstance(exc, ConnectionError):
                log.error("Request failed in the middle of its answer", exc_info=exc)
            self.end(request, None)
            raise ConnectionResetError from exc
        if isinstance(exc, web.HTTPException):
            if exc.status < 400:
                raise exc
            error: ApiError = RoutingError(request, exc)
        elif isinstance(exc, ApiError):
            error = exc
        elif isinstance(exc, web.RequestPayloadError | HttpProcessingError):
            error = body_error()
        else:
            log.error("Request failed", exc_info=exc)
            error = crash_error()
        request[RECORD].error_code = error.code or str(error.status)
        return error_response(error)

    def close_idle(self) -> None:
        """Hang up on every connection that has no request running."""
        for connection in self.connections:
            if cast("Connection", connection).request is None:
                connection.force_close()

    async def finished(self, timeout_s: float) -> bool:
        """Wait for what runs; False where it did not end in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._nothing_runs.wait()
        except TimeoutError:
            return False
        return True


class HttpRunner(web.AppRunner):
    """AppRunner that serves the application through HttpServer."""

    def __init__(
        self,
        app: web.Application,
        *,
        stamp: Stamp,
        observer: Observer,
        keepalive_s: float = 75.0,
        lingering_s: float = 5.0,
        stalled_write_s: float = 75.0,
    ) -> None:
        # Once the drain is over only what refuses to end is left: it gets a second.
        super().__init__(app, access_log=None, shutdown_timeout=1.0)
        self._stamp = stamp
        self._observer = observer
        self._connection_options: dict[str, Any] = {
            "keepalive_timeout": keepalive_s,
            "lingering_time": lingering_s,
            "stalled_write_s": stalled_write_s,
            "access_log": None,
        }

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return HttpServer(
            cast("Any", made.request_handler),
            app=self.app,
            make_request=made.request_factory,
            stamp=self._stamp,
            observer=self._observer,
            connection_options=self._connection_options,
        )

    @property
    def http_server(self) -> HttpServer:
        """Once set up."""
        return cast("HttpServer", self.server)

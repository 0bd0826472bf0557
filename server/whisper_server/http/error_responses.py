"""Errors of HTTP itself, as OpenAI's clients expect every error: what the parser, the router or a bug refuses.

aiohttp's own are text. Nothing is decided or logged here.
"""

from __future__ import annotations

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from whisper_server.errors import ApiError, BadRequest, InternalError


class NotHttp(BadRequest):
    """The parser refused what arrived."""

    code = "bad_http"


class RoutingError(ApiError):
    """aiohttp's own refusals (404, 405, 417 …) in OpenAI's shape."""

    type = "invalid_request_error"

    def __init__(self, request: web.BaseRequest, refusal: web.HTTPException) -> None:
        what = {404: "Invalid URL", 405: "Method not allowed"}.get(refusal.status, refusal.reason)
        super().__init__(f"{what} ({request.method} {request.path})")
        self.status = refusal.status
        self._allow = refusal.headers.get(hdrs.ALLOW)

    def headers(self) -> dict[str, str]:
        return {} if self._allow is None else {"Allow": self._allow}


def error_response(error: ApiError) -> web.Response:
    """The error as OpenAI's clients expect it."""
    return web.json_response(error.body(), status=error.status, headers=error.headers())


def parser_error(exc: BaseException | None) -> ApiError:
    """What to say where the bytes that came are no request."""
    if isinstance(exc, LineTooLong):
        return NotHttp("The request line or a header is too long.")
    if isinstance(exc, HttpProcessingError):
        # aiohttp shows the bytes and where it stopped, on lines of their own.
        reason = (exc.message.splitlines() or [""])[0].rstrip(":. ")
        return NotHttp(f"The request is not valid HTTP: {reason or 'it cannot be parsed'}.")
    return crash_error()


def body_error() -> ApiError:
    """The body broke off in the middle."""
    return NotHttp("The request's body broke off, or its chunks are malformed.")


def crash_error() -> ApiError:
    """A bug of ours, of which the client learns nothing."""
    return InternalError("The server failed on this request; its log says more, under this x-request-id.")

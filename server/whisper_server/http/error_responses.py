"""Errors of HTTP itself in OpenAI's shape: from the parser, the router or a bug. aiohttp's own errors are plain text."""

from __future__ import annotations

import errno

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from whisper_server.errors import ApiError, InternalError, MalformedHttp, RoutingError, TooManyRequests


def error_response(error: ApiError) -> web.Response:
    """The response with OpenAI's error object."""
    return web.json_response(error.body(), status=error.status, headers=error.headers())


def parser_error(exc: BaseException | None) -> ApiError:
    """The error for bytes that are not a request."""
    if isinstance(exc, LineTooLong):
        return MalformedHttp("The request line or a header is too long.")
    if isinstance(exc, HttpProcessingError):
        # The lines after the first show the bytes and where the parser stopped.
        reason = (exc.message.splitlines() or [""])[0].rstrip(":. ")
        return MalformedHttp(f"The request is not valid HTTP: {reason or 'it cannot be parsed'}.")
    return internal_error()


def broken_body_error() -> ApiError:
    """The error for a body that ended early or has malformed chunks."""
    return MalformedHttp("The request's body broke off, or its chunks are malformed.")


def internal_error() -> ApiError:
    """The error for a bug of the server, without details."""
    return InternalError("The server failed on this request; its log says more, under this x-request-id.")


def lacks_descriptors(exc: BaseException) -> bool:
    """Whether the process or the machine has no file descriptor left."""
    return isinstance(exc, OSError) and exc.errno in (errno.EMFILE, errno.ENFILE)


def descriptors_error() -> ApiError:
    """The error for a request that found no descriptor left: a later one may."""
    return TooManyRequests()


def routing_error(request: web.BaseRequest, refusal: web.HTTPException) -> RoutingError:
    """Aiohttp's own refusal (404, 405, 417 …)."""
    what = {404: "Invalid URL", 405: "Method not allowed"}.get(refusal.status, refusal.reason)
    message = f"{what} ({request.method} {request.path})"
    return RoutingError(message, status=refusal.status, allow=refusal.headers.get(hdrs.ALLOW))

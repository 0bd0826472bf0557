"""Web pages that may call the server (CORS): the headers of every answer, and the middleware for preflights.

`aiohttp-cors` is not used: it answers refused preflights with plain text and needs every route registered twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

EXPOSED_HEADERS = ", ".join(
    [
        "x-request-id",
        "Retry-After",
        *(
            f"x-ratelimit-{what}-{of}"
            for of in ("requests", "audio-seconds")
            for what in ("limit", "remaining", "reset")
        ),
    ]
)
MAX_AGE_S = 600


def cors_headers(allowed_origins: Sequence[str], origin: str | None) -> dict[str, str]:
    """The headers of every answer that let a page of `origin` read it."""
    if not allowed_origins:
        return {}
    if "*" in allowed_origins:
        return {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": EXPOSED_HEADERS}
    # Also without a match: a cache must not give one origin's answer to another.
    headers = {"Vary": "Origin"}
    if origin in allowed_origins:
        headers |= {"Access-Control-Allow-Origin": str(origin), "Access-Control-Expose-Headers": EXPOSED_HEADERS}
    return headers


def preflight_headers(asked_headers: str | None) -> dict[str, str]:
    """The other headers of a preflight's answer. The requested headers are allowed by name: `*` excludes Authorization."""
    return {
        "Access-Control-Allow-Methods": "GET, HEAD, POST",
        "Access-Control-Allow-Headers": asked_headers or "authorization, content-type",
        "Access-Control-Max-Age": str(MAX_AGE_S),
    }


def preflight(allowed_origins: Sequence[str]) -> Middleware:
    """Answers the requests by which a browser asks whether a page may call."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = request.match_info.http_exception
        asks = request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        allowed = hdrs.ACCESS_CONTROL_ALLOW_ORIGIN in cors_headers(allowed_origins, request.headers.get(hdrs.ORIGIN))
        # The path exists, but has no OPTIONS handler.
        if asks and allowed and isinstance(refusal, web.HTTPMethodNotAllowed):
            asked_headers = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS)
            return web.Response(status=204, headers=preflight_headers(asked_headers))
        return await handler(request)

    return middleware

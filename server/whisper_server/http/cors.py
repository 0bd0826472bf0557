"""Which web pages may call the server (CORS): header values in, header values out.

`aiohttp-cors` answers refused preflights with text of its own and wants every route registered twice;
what is needed here is this little.
"""

from __future__ import annotations

from collections.abc import Sequence

EXPOSED_HEADERS = "x-request-id, Retry-After"
MAX_AGE_S = 600


def cors_headers(allowed_origins: Sequence[str], origin: str | None) -> dict[str, str]:
    """What every answer carries, so that a page of `origin` may read it."""
    if not allowed_origins:
        return {}
    if "*" in allowed_origins:
        return {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": EXPOSED_HEADERS}
    # A cache must not hand one origin's answer to another, so also without a match.
    headers = {"Vary": "Origin"}
    if origin in allowed_origins:
        headers |= {"Access-Control-Allow-Origin": str(origin), "Access-Control-Expose-Headers": EXPOSED_HEADERS}
    return headers


def preflight_headers(asked_headers: str | None) -> dict[str, str]:
    """What a preflight is told besides; the headers asked for are allowed by name, as `*` excludes Authorization."""
    return {
        "Access-Control-Allow-Methods": "GET, HEAD, POST",
        "Access-Control-Allow-Headers": asked_headers or "authorization, content-type",
        "Access-Control-Max-Age": str(MAX_AGE_S),
    }

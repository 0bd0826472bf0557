"""HTTP as all sources use it: with timeouts, through the environment's proxy and certificates, from an offset on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing

import httpx

from whisper_server.engines.model_sources.fetch_error import ConnectionLost

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
"""Of silence, and to connect."""


def get(url: str, headers: Mapping[str, str]) -> httpx.Response:
    """The answer, of which the body is still to be read or closed. Raises ConnectionLost, also for a server's own errors."""
    return _answer("GET", url, headers={"Accept-Encoding": "identity", **headers}, follow_redirects=True)


def post_form(url: str, form: Mapping[str, str]) -> httpx.Response:
    """As `get`, but it follows no redirect: the form has a secret that is for this server only."""
    return _answer("POST", url, form=form, follow_redirects=False)


def body_from(response: httpx.Response, offset: int) -> tuple[int, Iterator[bytes]]:
    """Where the body begins, and the body: a server without ranges sends all of it."""
    is_part = response.status_code == httpx.codes.PARTIAL_CONTENT
    return (offset if is_part else 0), _chunks(response)


def _chunks(response: httpx.Response) -> Iterator[bytes]:
    try:
        with closing(response):
            yield from response.iter_raw()
    except httpx.HTTPError as error:
        raise ConnectionLost(error) from error


def _answer(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    follow_redirects: bool,
) -> httpx.Response:
    # No connection outlives its answer, so nothing is left to close.
    client = httpx.Client(timeout=TIMEOUT, limits=httpx.Limits(max_keepalive_connections=0))
    try:
        request = client.build_request(method, url, headers=headers, data=form)
        response = client.send(request, stream=True, follow_redirects=follow_redirects)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ConnectionLost(error) from error
    if response.is_server_error:
        response.close()
        raise ConnectionLost(OSError(f"the server answers {response.status_code} {response.reason_phrase}"))
    return response

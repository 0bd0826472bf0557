"""How long ago each watch last received data, bookmarks included; the liveness probe uses it.

Kopf hides bookmarks from handlers, and in a quiet cluster nothing else arrives for hours. So we count bytes: the session
that we give to kopf creates responses that register here, and a growing byte count shows that a watch is alive.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp


@dataclass
class _Watch:
    """The watch of one path."""

    at: float
    n_bytes: int = 0
    response: weakref.ref[aiohttp.ClientResponse] | None = None


class WatchMeter:
    """All expected watches."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._watches: dict[str, _Watch] = {}

    def expect(self, paths: Iterable[str]) -> None:
        """From now on, data is expected on each of these paths."""
        self._watches = {path: _Watch(self._clock()) for path in paths}

    def opened(self, path: str, response: aiohttp.ClientResponse) -> None:
        """The server has accepted the watch. A refusal does not count as a sign of life."""
        if path in self._watches:
            self._watches[path] = _Watch(self._clock(), 0, weakref.ref(response))

    def age_s(self) -> float:
        """Seconds since the quietest watch received data. Its precision is the interval between two calls."""
        now = self._clock()
        for watch in self._watches.values():
            response = watch.response() if watch.response else None
            # A response has no content before its headers were read.
            content = getattr(response, "content", None)
            if content is not None and content.total_bytes != watch.n_bytes:
                watch.at, watch.n_bytes = now, content.total_bytes
        return max((now - watch.at for watch in self._watches.values()), default=0.0)

    def response_class(self) -> type[aiohttp.ClientResponse]:
        """The response class for the session that watches."""
        meter = self

        class Metered(aiohttp.ClientResponse):
            """Registers the watch when the response starts."""

            async def start(self, connection: Any) -> aiohttp.ClientResponse:
                response = await super().start(connection)
                if self.url.query.get("watch") == "true" and self.status == HTTPStatus.OK:
                    meter.opened(self.url.path, self)
                return response

        return Metered

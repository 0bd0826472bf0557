"""How long ago a watch last said anything, bookmarks included: what the liveness probe asks.

Kopf hides bookmarks from handlers, and in a quiet cluster nothing else comes for hours. But they are bytes: the session
that kopf is given makes responses that are known here, and their count of received bytes tells whether a watch lives.
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
    """All watches that there should be."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._watches: dict[str, _Watch] = {}

    def expect(self, paths: Iterable[str]) -> None:
        """From now on, something should be heard of each of these."""
        self._watches = {path: _Watch(self._clock()) for path in paths}

    def opened(self, path: str, response: aiohttp.ClientResponse) -> None:
        """The server has begun to tell of changes. A refusal is no sign of life."""
        if path in self._watches:
            self._watches[path] = _Watch(self._clock(), 0, weakref.ref(response))

    def age_s(self) -> float:
        """Of the most silent watch. As exact as this is asked often."""
        now = self._clock()
        for watch in self._watches.values():
            response = watch.response() if watch.response else None
            # A response has no content before its head was read.
            content = getattr(response, "content", None)
            if content is not None and content.total_bytes != watch.n_bytes:
                watch.at, watch.n_bytes = now, content.total_bytes
        return max((now - watch.at for watch in self._watches.values()), default=0.0)

    def response_class(self) -> type[aiohttp.ClientResponse]:
        """For the session that watches."""
        meter = self

        class Metered(aiohttp.ClientResponse):
            """Says when it begins."""

            async def start(self, connection: Any) -> aiohttp.ClientResponse:
                response = await super().start(connection)
                if self.url.query.get("watch") == "true" and self.status == HTTPStatus.OK:
                    meter.opened(self.url.path, self)
                return response

        return Metered

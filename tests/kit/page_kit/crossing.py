"""The way between the page and its session, where events cross: what the server says is held until another event has passed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from playwright.async_api import Page, WebSocketRoute

from page_kit.browsing import WAIT_MS

Event = dict[str, Any]


class Crossing:
    """What the server says from the first `holds_from` on reaches the page once one of them has said `until`."""

    def __init__(
        self, holds_from: str = "", until: str = "", *, gets: Callable[[Event], Iterable[Event]] = lambda event: [event]
    ) -> None:
        """`gets`: what the server gets for an event of the page."""
        self._holds_from, self._until, self._gets = holds_from, until, gets
        self._held: list[str | bytes] = []
        self._is_holding = False
        self._socket: WebSocketRoute | None = None
        self.sent: list[Event] = []
        """By the page."""
        self.said: list[Event] = []
        """By the server, whether the page has it or not."""

    async def lay(self, page: Page) -> None:
        """The page's sessions from now on go this way."""
        await page.route_web_socket("**/v1/realtime?*", self._open)

    def has(self, kind: str) -> bool:
        """Whether the server has said it."""
        return any(event["type"] == kind for event in self.said)

    async def until(self, condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + WAIT_MS / 1000
        while not condition():
            assert time.monotonic() < deadline_s, [event["type"] for event in self.said]
            await asyncio.sleep(0.02)

    async def cut(self) -> None:
        """End the page's session with a fault."""
        assert self._socket is not None
        await self._socket.close(code=1011)

    def _open(self, socket: WebSocketRoute) -> None:
        self._socket = socket
        server = socket.connect_to_server()

        def let_go() -> None:
            self._is_holding, self._holds_from = False, ""
            for held in self._held:
                socket.send(held)

        def from_page(message: str | bytes) -> None:
            event = json.loads(message)
            self.sent.append(event)
            for one in self._gets(event):
                server.send(json.dumps(one))
            if event["type"] == self._until:
                let_go()

        def from_server(message: str | bytes) -> None:
            event = json.loads(message)
            self.said.append(event)
            self._is_holding = self._is_holding or event["type"] == self._holds_from
            if self._is_holding and event["type"] != self._until:
                self._held.append(message)
            else:
                socket.send(message)
            if event["type"] == self._until:
                let_go()

        socket.on_message(from_page)
        server.on_message(from_server)

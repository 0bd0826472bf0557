"""A WebSocket that sends events in order, and a client's last word before the server closes it.

aiohttp's own, with a queue in front: to emit an event never waits for the client, and a client that does not read is cut off. `route` has the session.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import secrets
from collections.abc import Callable
from typing import cast

from aiohttp import WSMsgType, web
from aiohttp.abc import AbstractStreamWriter

from whisper_server.api.realtime_server_events import Failure, ServerEvent
from whisper_server.errors import BadRequest
from whisper_server.http.connection import Connection
from whisper_server.live.ending import CloseCode

SUBPROTOCOL = "realtime"
MAX_FRAME_BYTES = 1024 * 1024
"""16 s of PCM at 24 kHz in base64. Clients send 20 to 200 ms at a time."""
MAX_UNSENT_EVENTS = 512
MAX_SEND_S = 30.0
"""For one event: the client reads nothing in this time."""
WATCH_S = 2.0
"""Steps in which both times are kept."""
PING_S = 18.0
"""Proxies close connections on which nothing is sent for a minute or more. With a step, 20 s as docs/realtime.md has it."""
CLOSE_S = 5.0
LINGER_S = 1.0
"""After an oversized frame: what the client is still sending is read, else its kernel drops the close frame."""

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode  # json.dumps makes an encoder for each event


class EventSocket(web.WebSocketResponse):
    """One client's connection."""

    def __init__(self, request: web.Request) -> None:
        # No compression: sound in base64 does not shrink, and a frame of a kilobyte must not become one of a megabyte.
        super().__init__(
            protocols=(SUBPROTOCOL,), compress=False, max_msg_size=MAX_FRAME_BYTES, timeout=CLOSE_S, autoclose=True
        )
        self._request = request
        self._unsent: asyncio.Queue[str | None] = asyncio.Queue()
        """None: a ping."""
        self._event_ids = map(f"event_{secrets.token_hex(6)}{{:08x}}".format, itertools.count())
        self._sent_s = self._sending_since_s = math.inf
        """When something was last sent; since when something is being sent."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """The upgrade: from here on the connection is a WebSocket. Raises BadRequest."""
        cast("Connection", request.protocol).becomes_websocket()
        try:
            return await super().prepare(request)
        except web.HTTPBadRequest as problem:
            raise BadRequest(
                f"The WebSocket handshake is not valid: {(problem.text or '').splitlines()[0]}. Connect with a WebSocket client: "
                "Connection: Upgrade, Sec-WebSocket-Version: 13, and a Sec-WebSocket-Key of 16 bytes in base64."
            ) from None

    def emit(self, event: ServerEvent) -> None:
        """Send an event after those before it. A client that does not read its events loses its connection."""
        if self._unsent.qsize() >= MAX_UNSENT_EVENTS:
            self.abort()
            return
        self._unsent.put_nowait(self._text(event))

    async def send_events(self) -> None:
        """Loop: send what was emitted, and a ping while there is nothing, until the client is gone."""
        loop = asyncio.get_running_loop()
        self._sent_s = loop.time()
        watching = asyncio.create_task(self._watch(loop.time))
        try:
            while True:
                text = await self._unsent.get()
                self._sending_since_s = loop.time()
                try:
                    await (self.ping() if text is None else self.send_str(text))
                finally:
                    self._sent_s, self._sending_since_s = loop.time(), math.inf
                    self._unsent.task_done()
        finally:
            watching.cancel()

    async def _watch(self, clock: Callable[[], float]) -> None:
        """Loop: one timer for all events of a session, as a timeout around each takes as long as to send it."""
        while True:
            await asyncio.sleep(WATCH_S)
            if clock() - self._sending_since_s >= MAX_SEND_S:
                self.abort()
            elif clock() - self._sent_s >= PING_S and self._unsent.empty():
                self._unsent.put_nowait(None)

    async def flush(self) -> None:
        """Wait until everything that was emitted is sent, for at most the time of one event."""
        try:
            async with asyncio.timeout(MAX_SEND_S):
                await self._unsent.join()
        except TimeoutError:
            self.abort()

    async def end(self, code: CloseCode, reason: str) -> None:
        """Send what is left, then close."""
        await self.flush()
        await self.close(code=code, message=reason.encode()[:120])

    async def close(self, *, code: int = CloseCode.NORMAL, message: bytes = b"", drain: bool = True) -> bool:
        """As aiohttp's, which calls it by itself for a frame that is too large: then the client learns why."""
        if code != CloseCode.TOO_LARGE or self.closed or not self.prepared:
            return await super().close(code=code, message=message, drain=drain)
        error = BadRequest(
            f"The event is too large: send at most {MAX_FRAME_BYTES} bytes at a time, sound in pieces of 0.1 s or so.",
            param="audio",
            code="event_too_large",
        )
        await self.send_str(self._text(Failure(error)))
        await self.send_frame(code.to_bytes(2, "big") + b"event_too_large", WSMsgType.CLOSE)
        await asyncio.sleep(LINGER_S)
        return await super().close(code=code, message=message, drain=drain)

    def abort(self) -> None:
        """Cut the connection off."""
        if self._request.transport is not None:
            self._request.transport.abort()

    def _text(self, event: ServerEvent) -> str:
        """JSON with an id of its own."""
        return _encode({"event_id": next(self._event_ids), **event.document()})

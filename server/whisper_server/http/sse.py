"""OpenAI's server-sent events of a transcription: a delta a window, and what a proxy needs to let them through.

Until the first event is due an error is an ordinary HTTP error; from then on it is an event. How windows come
about and what a transcript is worth belong elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

from aiohttp import web

from whisper_server.api.formats import language_objects, logprob_objects
from whisper_server.errors import ApiError
from whisper_server.http.error_responses import crash_error
from whisper_server.whisper.transcript import TokenLogprob, WindowTranscript

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    # nginx and those who took it over collect an answer before they pass it on, unless told not to.
    "X-Accel-Buffering": "no",
}

Event = Mapping[str, Any]

log = logging.getLogger(__name__)


def delta_event(window: WindowTranscript, *, logprobs: bool) -> Event:
    """The text of one accepted window."""
    event: dict[str, Any] = {"type": "transcript.text.delta", "delta": window.text}
    if logprobs:
        event["logprobs"] = logprob_objects(window.logprobs)
    return event


def done_event(text: str, language: str, usage: Mapping[str, Any], logprobs: Iterable[TokenLogprob] | None) -> Event:
    """The end: the deltas joined, and what they cost."""
    event: dict[str, Any] = {"type": "transcript.text.done", "text": text}
    if logprobs is not None:
        event["logprobs"] = logprob_objects(logprobs)
    return event | {"languages": language_objects(language), "usage": dict(usage)}


def _as_data(event: Event) -> bytes:
    # ASCII only: some clients take U+2028 and U+0085 for the end of a line.
    return f"data: {json.dumps(event, ensure_ascii=True, separators=(',', ':'))}\n\n".encode("ascii")


class EventSender:
    """Sends the events of one request, comments while there are none, and errors that come in between."""

    def __init__(self, request: web.Request, heartbeat_s: float, on_error: Callable[[ApiError], None]) -> None:
        self._request = request
        self._heartbeat_s = heartbeat_s
        self._on_error = on_error
        self._items: asyncio.Queue[Event | Exception | None] = asyncio.Queue()
        """None: the end."""

    async def send(self, events: AsyncIterator[Event]) -> web.StreamResponse:
        """Raises what `events` raises before anything was sent; sends it as an event afterwards."""
        # One task runs the iterator from beginning to end: a slow reader does not hold up the engine, and
        # time-outs and task groups inside it are left by the task that entered them.
        pump = asyncio.create_task(self._pump(events))
        try:
            return await self._answer()
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)

    async def _pump(self, events: AsyncIterator[Event]) -> None:
        try:
            async for event in events:
                self._items.put_nowait(event)
        except Exception as error:  # noqa: BLE001 - it is raised or sent where the events are read
            self._items.put_nowait(error)
        else:
            self._items.put_nowait(None)

    async def _answer(self) -> web.StreamResponse:
        sent = await self._next_bytes()
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(self._request)
        while sent:
            await response.write(sent)
            try:
                sent = await self._next_bytes()
            except Exception as error:  # noqa: BLE001 - whatever it is, the client must learn that text is missing
                await response.write(_as_data(self._error(error).body()))
                break
        # Its end is written by aiohttp once the handler is through: who sees it and hangs up interrupts nothing.
        return response

    async def _next_bytes(self) -> bytes:
        """The next event, or a comment where it takes too long for a proxy's patience; empty at the end."""
        try:
            async with asyncio.timeout(self._heartbeat_s):
                item = await self._items.get()
        except TimeoutError:
            return b": still working\n\n"
        if isinstance(item, Exception):
            raise item
        return b"" if item is None else _as_data(item)

    def _error(self, error: Exception) -> ApiError:
        if not isinstance(error, ApiError):
            log.error("Request failed in the middle of its events", exc_info=error)
            error = crash_error()
        self._on_error(error)
        return error

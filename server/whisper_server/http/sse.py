"""OpenAI's server-sent events of a transcription: one delta per window, with headers that keep proxies from buffering.

Before the first event an error is an ordinary HTTP error; afterwards it is an event.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

from aiohttp import web

from whisper_server.api.diarized import segment_object
from whisper_server.api.formats import language_objects, logprob_objects
from whisper_server.errors import ApiError
from whisper_server.http.error_responses import internal_error
from whisper_server.whisper.transcript import Segment, TokenLogprob, WindowTranscript

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    # nginx and proxies built on it buffer an answer unless this header forbids it.
    "X-Accel-Buffering": "no",
}

Event = Mapping[str, Any]

log = logging.getLogger(__name__)


def delta_event(window: WindowTranscript, *, logprobs: bool) -> Event:
    """The text of one accepted window."""
    event: dict[str, Any] = {"type": "transcript.text.delta", "delta": window.text}
    if window.speaker is not None:
        event["speaker"] = window.speaker
    if logprobs:
        event["logprobs"] = logprob_objects(window.logprobs)
    return event


def done_event(
    text: str, languages: Iterable[str], usage: Mapping[str, Any], logprobs: Iterable[TokenLogprob] | None
) -> Event:
    """The last event: the joined deltas and the usage."""
    event: dict[str, Any] = {"type": "transcript.text.done", "text": text}
    if logprobs is not None:
        event["logprobs"] = logprob_objects(logprobs)
    return event | {"languages": language_objects(languages), "usage": dict(usage)}


def segment_event(segment: Segment) -> Event:
    """A segment with its speaker (`diarized_json`)."""
    return segment_object(segment)


def _as_data(event: Event) -> bytes:
    # ASCII only: some clients treat U+2028 and U+0085 as the end of a line.
    return f"data: {json.dumps(event, ensure_ascii=True, separators=(',', ':'))}\n\n".encode("ascii")


class EventSender:
    """Sends the events of one request, comments while none is ready, and errors that occur in between."""

    def __init__(self, request: web.Request, heartbeat_s: float, on_error: Callable[[ApiError], None]) -> None:
        self._request = request
        self._heartbeat_s = heartbeat_s
        self._on_error = on_error
        self._items: asyncio.Queue[Event | Exception | None] = asyncio.Queue()
        """None marks the end."""

    async def send(self, events: AsyncIterator[Event]) -> web.StreamResponse:
        """Raises what `events` raises before anything was sent; sends it as an event afterwards."""
        # One task runs the whole iterator: a slow reader does not block the engine, and time-outs and task groups
        # inside it are left by the task that entered them.
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
        except Exception as error:  # noqa: BLE001 - raised or sent where the events are read
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
            except Exception as error:  # noqa: BLE001 - the client must learn that text is missing
                await response.write(_as_data(self._error(error).body()))
                break
        # aiohttp writes the end after the handler returns: a client that then hangs up interrupts nothing.
        return response

    async def _next_bytes(self) -> bytes:
        """The next event, or a comment if none is ready within the heartbeat; empty at the end."""
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
            error = internal_error()
        self._on_error(error)
        return error

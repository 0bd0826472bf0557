"""Clients of realtime sessions, on a server with doubles."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np

from http_kit.doubles import Doubles
from http_kit.running import Running, running
from live_kit.doubles import LiveSpeechDouble

TRANSCRIPTION = "conversation.item.input_audio_transcription"
Event = dict[str, Any]


def tone(duration_s: float, level: float = 0.5) -> bytes:
    """A square wave: the double hears a word in each half second of it."""
    phases = np.arange(int(duration_s * 24_000)) // 120 % 2
    return bytes(((phases * 2 - 1) * level * 32767).astype("<i2").tobytes())


def silence(duration_s: float) -> bytes:
    return bytes(int(duration_s * 24_000) * 2)


class Client:
    """One session."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.events: list[Event] = []

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send_json({"type": kind, **fields})

    async def speak(self, sound: bytes) -> None:
        for first in range(0, len(sound), 48_000):
            audio = base64.b64encode(sound[first : first + 48_000]).decode()
            await self.send("input_audio_buffer.append", audio=audio)

    async def update(self, **audio_input: Any) -> None:
        await self.send("session.update", session={"type": "transcription", "audio": {"input": audio_input}})

    async def until(self, kind: str) -> Event:
        """The next event of this type; those before it are kept, too."""
        async with asyncio.timeout(20):
            while True:
                event: Event = json.loads(await self.socket.receive_str())
                self.events.append(event)
                if event["type"] == kind:
                    return event

    async def closing_code(self) -> int:
        async with asyncio.timeout(20):
            while (message := await self.socket.receive()).type is aiohttp.WSMsgType.TEXT:
                self.events.append(json.loads(message.data))
        assert self.socket.close_code is not None
        return self.socket.close_code

    @property
    def types(self) -> list[str]:
        return [event["type"].removeprefix(f"{TRANSCRIPTION}.") for event in self.events]


@asynccontextmanager
async def connected(server: Running, query: str = "?intent=transcription", **options: Any) -> AsyncIterator[Client]:
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{server.url}/v1/realtime{query}", **options) as socket,
    ):
        yield Client(socket)


@asynccontextmanager
async def session(live: LiveSpeechDouble | None = None, **variables: Any) -> AsyncIterator[Client]:
    doubles = Doubles(live=live or LiveSpeechDouble())
    async with running(doubles, **variables) as server, connected(server) as client:
        yield client


async def come_and_go(server: Running, number: int) -> None:
    """Speak, and leave: with a close frame, or every second client without one, before its first event is read."""
    async with connected(server) as client:
        await client.speak(tone(0.7))
        if number % 2:
            await client.until("session.created")
        else:
            assert client.socket._response.connection is not None
            client.socket._response.close()


async def answer(server: Running, path: str, **options: Any) -> tuple[int, Mapping[str, str], Any]:
    async with aiohttp.ClientSession() as http, http.request(url=server.url + path, **options) as response:
        return response.status, response.headers, await response.json()

"""One session through OpenAI's unmodified client: sound goes out as it is spoken, every event comes back with its time."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import soxr
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection

RATE_HZ = 24_000
CHUNK_S = 0.1
TRANSCRIPTION = "conversation.item.input_audio_transcription"


@dataclass(frozen=True)
class Heard:
    """An event and when it came, in seconds since the first sound was sent."""

    at_s: float
    type: str
    event: dict[str, Any]


@dataclass
class Conversation:
    """What a session sent."""

    events: list[Heard] = field(default_factory=list)

    def of(self, kind: str) -> list[Heard]:
        return [heard for heard in self.events if heard.type == kind]

    @property
    def deltas(self) -> list[Heard]:
        return self.of(f"{TRANSCRIPTION}.delta")

    @property
    def completed(self) -> list[Heard]:
        return self.of(f"{TRANSCRIPTION}.completed")

    @property
    def text(self) -> str:
        return " ".join(text for heard in self.completed if (text := heard.event["transcript"].strip()))

    def joined_deltas(self) -> Mapping[str, str]:
        """By item."""
        joined = dict.fromkeys((heard.event["item_id"] for heard in self.completed), "")
        for heard in self.deltas:
            joined[heard.event["item_id"]] = joined.get(heard.event["item_id"], "") + heard.event["delta"]
        return joined

    def transcripts(self) -> Mapping[str, str]:
        """By item."""
        return {heard.event["item_id"]: heard.event["transcript"] for heard in self.completed}


def pcm(sound: np.ndarray[Any, Any], rate_hz: int) -> bytes:
    """16 bits at 24 kHz."""
    resampled = soxr.resample(sound, rate_hz, RATE_HZ) if rate_hz != RATE_HZ else sound
    return bytes((np.clip(resampled, -1, 1) * 32767).astype("<i2").tobytes())


@asynccontextmanager
async def session(url: str, key: str = "none", **query: str) -> AsyncIterator[AsyncRealtimeConnection]:
    """A transcription session."""
    async with (
        AsyncOpenAI(base_url=f"{url}/v1", api_key=key) as client,
        client.realtime.connect(extra_query={"intent": "transcription", **query}) as connection,
    ):
        yield connection


async def send(connection: AsyncRealtimeConnection, sound: bytes, *, speed: float = 1.0) -> None:
    """Append PCM in pieces of 0.1 s, `speed` times as fast as it was spoken."""
    n_bytes = int(CHUNK_S * RATE_HZ) * 2
    began_s = time.monotonic()
    for number, first in enumerate(range(0, len(sound), n_bytes), start=1):
        # A microphone has a piece when it is over.
        await asyncio.sleep(began_s + number * CHUNK_S / speed - time.monotonic())
        piece = sound[first : first + n_bytes]
        await connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())


async def listen(connection: AsyncRealtimeConnection, conversation: Conversation, began_s: float) -> None:
    """Note events until cancelled, or until the connection ends."""
    async for event in connection:
        conversation.events.append(Heard(time.monotonic() - began_s, event.type, event.model_dump()))


async def converse(
    url: str, sound: bytes, *, update: Mapping[str, Any] | None = None, speed: float = 1.0, commit: bool = False
) -> Conversation:
    """Speak a recording, followed by silence, and return once every turn is transcribed."""
    conversation = Conversation()
    async with session(url) as connection:
        if update is not None:
            await connection.send({"type": "session.update", "session": {"type": "transcription", **update}})  # type: ignore[arg-type]
        began_s = time.monotonic()
        listening = asyncio.create_task(listen(connection, conversation, began_s))
        await send(connection, sound if commit else sound + bytes(RATE_HZ * 2), speed=speed)
        if commit:
            await connection.input_audio_buffer.commit()
        async with asyncio.timeout(120):
            while not conversation.completed or len(conversation.completed) < _n_turns(conversation, commit=commit):
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.1)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    return conversation


def _n_turns(conversation: Conversation, *, commit: bool) -> int:
    kind = "input_audio_buffer.committed" if commit else "input_audio_buffer.speech_started"
    return len(conversation.of(kind))

"""Live transcription that survives rollouts: connects again, and sends the sound again that no transcript covers yet.

python realtime_reconnect.py wss://HOST/v1 KEY < sound.pcm        (16 bits, mono, 24 kHz; as fast as it comes)
"""

import asyncio
import base64
import sys
from collections.abc import AsyncIterator
from typing import Any

from openai import AsyncOpenAI
from websockets.exceptions import ConnectionClosed, InvalidStatus

PIECE_BYTES = 4800
"""0.1 s."""
BYTES_PER_MS = 48
TRANSCRIPTION = "conversation.item.input_audio_transcription"


class Speaker:
    """Keeps the sound from the end of the last complete turn on."""

    def __init__(self, client: AsyncOpenAI, sound: AsyncIterator[bytes]) -> None:
        self._client = client
        self._sound = sound
        self._kept: list[bytes] = []
        self._is_over = False

    async def run(self) -> None:
        while not (self._is_over and not self._kept):
            try:
                async with self._client.realtime.connect(extra_query={"intent": "transcription"}) as session:
                    await self._talk(session)
            except (ConnectionClosed, InvalidStatus, OSError) as problem:
                print(f"[connecting again: {problem}]", file=sys.stderr)
                await asyncio.sleep(1)

    async def _talk(self, session: Any) -> None:
        sending = asyncio.create_task(self._send(session))
        n_dropped_bytes = 0
        ends_ms: dict[str, int] = {}
        try:
            async for event in session:
                if event.type == "input_audio_buffer.speech_stopped":
                    ends_ms[event.item_id] = event.audio_end_ms
                elif event.type == f"{TRANSCRIPTION}.completed":
                    print(event.transcript, flush=True)
                    if (end_ms := ends_ms.pop(event.item_id, None)) is not None:
                        n_dropped_bytes += self._drop(end_ms * BYTES_PER_MS - n_dropped_bytes)
                if self._is_over and sending.done() and not self._speaks(ends_ms, event):
                    self._kept.clear()
                    return
        finally:
            sending.cancel()

    def _speaks(self, ends_ms: dict[str, int], event: Any) -> bool:
        """Whether a turn is not complete yet."""
        return bool(ends_ms) or event.type != f"{TRANSCRIPTION}.completed"

    async def _send(self, session: Any) -> None:
        for piece in [*self._kept]:
            await session.input_audio_buffer.append(audio=base64.b64encode(piece).decode())
        async for piece in self._sound:
            self._kept.append(piece)
            await session.input_audio_buffer.append(audio=base64.b64encode(piece).decode())
        self._is_over = True
        await session.input_audio_buffer.append(audio=base64.b64encode(bytes(PIECE_BYTES * 10)).decode())

    def _drop(self, n_bytes: int) -> int:
        """Forget whole pieces of what is transcribed; how many bytes that are."""
        n_pieces = max(0, n_bytes) // PIECE_BYTES
        del self._kept[:n_pieces]
        return n_pieces * PIECE_BYTES


async def pieces() -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(sys.stdin.buffer.read, PIECE_BYTES):
        yield piece


async def main() -> None:
    base_url, key = sys.argv[1].replace("ws", "http", 1), sys.argv[2]
    await Speaker(AsyncOpenAI(base_url=base_url, api_key=key), pieces()).run()


if __name__ == "__main__":
    asyncio.run(main())

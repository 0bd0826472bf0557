"""Live transcription that survives rollouts: connects again, and sends the sound again that no transcript covers yet.

python realtime_reconnect.py https://HOST/v1 KEY < sound.pcm        (16 bits, mono, 24 kHz, as fast as it is spoken)
"""

import asyncio
import base64
import sys
from typing import Any

from openai import AsyncOpenAI
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

PIECE_BYTES = 4800
"""0.1 s."""
PIECE_MS = 100
SILENCE_S = 1.0
"""After the last sound, so that the last turn ends."""
FINAL_STATUSES = (400, 401, 403, 404)
FINAL_CLOSE_CODES = (1008, 1009)
"""With these another attempt would fail in the same way."""
AGAIN_AFTER_S = 0.5
MAX_AGAIN_AFTER_S = 60.0
TRANSCRIPTION = "conversation.item.input_audio_transcription"


class Speaker:
    """Keeps the sound from the end of the last complete turn on."""

    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client
        self._kept: list[bytes] = []
        self._n_dropped = 0
        """Pieces before those that are kept."""
        self._is_over = False
        self._again_after_s = AGAIN_AFTER_S

    async def run(self) -> None:
        hearing = asyncio.create_task(self._hear())
        while True:
            if await self._session():
                break
            await asyncio.sleep(self._again_after_s)
        await hearing

    async def _hear(self) -> None:
        while piece := await asyncio.to_thread(sys.stdin.buffer.read, PIECE_BYTES):
            self._kept.append(piece)
        self._kept += [bytes(PIECE_BYTES)] * round(SILENCE_S * 1000 / PIECE_MS)
        self._is_over = True

    async def _session(self) -> bool:
        """One session; True if everything is transcribed, False to connect again."""
        self._again_after_s = AGAIN_AFTER_S
        try:
            async with self._client.realtime.connect(extra_query={"intent": "transcription"}) as session:
                sending = asyncio.create_task(self._send(session))
                try:
                    return await self._read(session)
                finally:
                    sending.cancel()
        except (ConnectionClosed, InvalidHandshake, OSError, TimeoutError) as problem:
            print(f"[connecting again: {problem}]", file=sys.stderr)
            if isinstance(problem, InvalidStatus):
                if problem.response.status_code in FINAL_STATUSES:
                    raise
                # A server that is full says when to come again, in seconds; a proxy may send a date.
                after = problem.response.headers.get("Retry-After", "")
                if after.isdecimal():
                    self._again_after_s = min(max(AGAIN_AFTER_S, float(after)), MAX_AGAIN_AFTER_S)
            if isinstance(problem, ConnectionClosed) and problem.rcvd and problem.rcvd.code in FINAL_CLOSE_CODES:
                raise
            return False

    async def _send(self, session: Any) -> None:
        at = self._n_dropped
        while not self._is_over or at < self._n_dropped + len(self._kept):
            if at < self._n_dropped + len(self._kept):
                piece = self._kept[at - self._n_dropped]
                await session.input_audio_buffer.append(audio=base64.b64encode(piece).decode())
                at += 1
            else:
                await asyncio.sleep(0.02)
        # The answer comes once all before it is heard.
        await session.session.update(session={"type": "transcription"})

    async def _read(self, session: Any) -> bool:
        first, open_turns, ends_ms, is_heard = self._n_dropped, set[str](), dict[str, int](), False
        while not (is_heard and not open_turns):
            event = await session.recv()
            if event.type == "input_audio_buffer.speech_started":
                open_turns.add(event.item_id)
            elif event.type == "input_audio_buffer.speech_stopped":
                ends_ms[event.item_id] = event.audio_end_ms
            elif event.type == f"{TRANSCRIPTION}.completed":
                print(event.transcript, flush=True)
                open_turns.discard(event.item_id)
                self._drop_until(first + ends_ms.pop(event.item_id, 0) // PIECE_MS)
            elif event.type == f"{TRANSCRIPTION}.failed":
                print("[connecting again: a turn has failed]", file=sys.stderr)
                return False
            elif event.type == "session.updated":
                is_heard = True
            elif event.type == "error":
                print(event.error.message, file=sys.stderr)
        return True

    def _drop_until(self, piece: int) -> None:
        """Forget what is transcribed."""
        n_pieces = max(0, piece - self._n_dropped)
        del self._kept[:n_pieces]
        self._n_dropped += n_pieces


if __name__ == "__main__":
    asyncio.run(Speaker(AsyncOpenAI(base_url=sys.argv[1], api_key=sys.argv[2])).run())

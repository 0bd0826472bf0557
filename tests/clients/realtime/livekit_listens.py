"""LiveKit's speech-to-text plugin, unmodified, in a realtime session; prints what it heard as JSON.

python livekit_listens.py BASE_URL SOUND.pcm     (16 bits, mono, 24 kHz; as fast as it was spoken)
"""

import asyncio
import json
import sys
from pathlib import Path

import aiohttp
from livekit import rtc
from livekit.agents import stt
from livekit.plugins import openai

RATE_HZ = 24_000
FRAME_BYTES = RATE_HZ // 10 * 2


async def main(base_url: str, path: str) -> None:
    sound = Path(path).read_bytes()
    async with aiohttp.ClientSession() as http:
        speech = openai.STT(model="whisper-1", use_realtime=True, base_url=base_url, api_key="unused", language="en")
        speech._session = http  # outside of LiveKit's own worker
        stream = speech.stream()

        async def speak() -> None:
            for first in range(0, len(sound), FRAME_BYTES):
                piece = sound[first : first + FRAME_BYTES]
                stream.push_frame(rtc.AudioFrame(piece, RATE_HZ, 1, len(piece) // 2))
                await asyncio.sleep(0.1)

        speaking = asyncio.create_task(speak())
        interim, final = [], []
        async with asyncio.timeout(60):
            async for event in stream:
                text = event.alternatives[0].text if event.alternatives else ""
                if event.type == stt.SpeechEventType.INTERIM_TRANSCRIPT:
                    interim.append(text)
                elif event.type == stt.SpeechEventType.FINAL_TRANSCRIPT:
                    final.append(text)
                    break  # the sound is one turn
        speaking.cancel()
        await stream.aclose()
        print(json.dumps({"interim": interim, "final": " ".join(final)}))


asyncio.run(main(*sys.argv[1:]))

"""Pipecat's speech-to-text service, unmodified, in a realtime session; prints what it heard as JSON.

python pipecat_listens.py BASE_URL SOUND.pcm     (16 bits, mono, 24 kHz; as fast as it was spoken)
"""

import asyncio
import json
import sys
from pathlib import Path

from pipecat.frames.frames import EndFrame, Frame, InputAudioRawFrame, InterimTranscriptionFrame, TranscriptionFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.stt import OpenAIRealtimeSTTService

RATE_HZ = 24_000
FRAME_BYTES = RATE_HZ // 10 * 2


class Heard(FrameProcessor):
    def __init__(self) -> None:
        super().__init__()
        self.interim: list[str] = []
        self.final: list[str] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InterimTranscriptionFrame):
            self.interim.append(frame.text)
        elif isinstance(frame, TranscriptionFrame):
            self.final.append(frame.text)
        await self.push_frame(frame, direction)


async def main(base_url: str, path: str) -> None:
    sound = Path(path).read_bytes()
    service = OpenAIRealtimeSTTService(
        api_key="unused",
        base_url=f"{base_url.replace('http', 'ws', 1)}/realtime",
        settings=OpenAIRealtimeSTTService.Settings(model="whisper-1", language="en"),
        turn_detection=None,
    )
    heard = Heard()
    task = PipelineTask(Pipeline([service, heard]), params=PipelineParams(audio_in_sample_rate=RATE_HZ))

    async def speak() -> None:
        await asyncio.sleep(1)
        for first in range(0, len(sound), FRAME_BYTES):
            await task.queue_frame(InputAudioRawFrame(sound[first : first + FRAME_BYTES], RATE_HZ, 1))
            await asyncio.sleep(0.1)
        for _ in range(200):
            if heard.final:
                break
            await asyncio.sleep(0.1)
        await task.queue_frame(EndFrame())

    await asyncio.gather(PipelineRunner(handle_sigint=False).run(task), speak())
    print(json.dumps({"interim": heard.interim, "final": " ".join(heard.final)}))


asyncio.run(main(*sys.argv[1:]))

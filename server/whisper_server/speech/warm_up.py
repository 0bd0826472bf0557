"""Runs the whole pipeline once before the server reports that it is ready.

The first use of a library imports it, starts its threads and fills its caches; no request should wait for that.
"""

from __future__ import annotations

import asyncio

import numpy as np

from whisper_server.errors import ApiError, StartError
from whisper_server.speech.transcribe import Transcriber
from whisper_server.speech.vad import VoiceDetector
from whisper_server.speech.windows import cut
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Options


async def warm_up(pipeline: Transcriber, voice: VoiceDetector) -> None:
    """Transcribe two seconds of noise. Raises StartError if that fails."""
    noise = np.random.default_rng(0).normal(scale=0.1, size=2 * SAMPLE_RATE_HZ).astype(np.float32)
    await asyncio.to_thread(voice.has_speech, noise)
    await asyncio.to_thread(cut, noise, 1.0)  # the code path of recordings that have several windows
    try:
        async with pipeline.transcribe(noise, Options(timestamps=True)) as job:
            await job.transcript()
    except ApiError as error:
        raise StartError(f"MODEL_ID: the model was loaded, but does not transcribe: {error.message}") from error

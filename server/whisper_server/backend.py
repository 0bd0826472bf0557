"""Everything that transcribes, started in order and stopped in reverse: engine, pipeline, decoding processes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from whisper_server import engines
from whisper_server.audio.limits import DecodeLimits
from whisper_server.audio.pool import DecodePool
from whisper_server.metrics import Metrics
from whisper_server.service import Backend
from whisper_server.settings import Settings
from whisper_server.transcribe import Transcriber
from whisper_server.vad import VoiceDetector
from whisper_server.window_transcription import DecodingPolicy


@asynccontextmanager
async def load_backend(settings: Settings, metrics: Metrics) -> AsyncIterator[Backend]:
    """Raises StartError."""
    async with AsyncExitStack() as stack:
        pool = DecodePool(
            settings.n_decode_workers,
            DecodeLimits(max_audio_s=settings.max_audio_seconds, max_decoded_s=settings.max_decoded_seconds),
        )
        await pool.start()
        stack.push_async_callback(pool.stop)
        metrics.watch_worker_deaths(lambda: pool.n_worker_deaths)
        engine, tokenizer = await engines.load(settings)
        stack.push_async_callback(engine.stop)
        pipeline = Transcriber(
            engine,
            tokenizer,
            VoiceDetector(),
            DecodingPolicy(
                beam_size=settings.beam_size,
                fallback_temperatures=settings.fallback_temperatures,
                max_new_tokens=settings.max_new_tokens,
                n_text_positions=engine.facts.n_text_positions,
            ),
            longest_window_s=settings.whisper_segment_duration_sec,
            clock=time.monotonic,
            on_fallback=metrics.ladder_fallbacks.inc,
        )
        yield Backend(engine, pipeline, pool)

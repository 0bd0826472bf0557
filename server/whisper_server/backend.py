"""Everything that transcribes, started in order and stopped in reverse: engine, pipeline, decoding processes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from whisper_server import engines
from whisper_server.audio.limits import DecodeLimits
from whisper_server.audio.pool import DecodePool
from whisper_server.metrics import Metrics
from whisper_server.service import Backend
from whisper_server.settings import Settings
from whisper_server.transcribe import Transcriber


@asynccontextmanager
async def load_backend(settings: Settings, metrics: Metrics) -> AsyncIterator[Backend]:
    """Raises StartError."""
    async with AsyncExitStack() as stack:
        pool = DecodePool(
            settings.decode_workers or min(8, os.cpu_count() or 1),
            DecodeLimits(max_audio_s=settings.max_audio_seconds, max_decoded_s=settings.max_decoded_seconds),
        )
        await pool.start()
        stack.push_async_callback(pool.stop)
        metrics.watch_worker_deaths(lambda: pool.n_worker_deaths)
        engine, tokenizer = await engines.load(settings)
        stack.push_async_callback(engine.stop)
        yield Backend(engine, Transcriber(engine, tokenizer), pool)

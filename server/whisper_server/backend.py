"""Engine, pipeline and decoding processes: started in order, stopped in reverse."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from whisper_server import engines
from whisper_server.audio.limits import DecoderLimits
from whisper_server.audio.pool import AudioDecoderPool
from whisper_server.audio.sandbox import forbid_memory_access
from whisper_server.diarization.diarizer import Diarizer
from whisper_server.memory.budget import SERVER, MemoryBudget
from whisper_server.memory.malloc import freeze_loaded_objects, trim_when_idle
from whisper_server.metrics import Metrics
from whisper_server.process.event_loop import running
from whisper_server.service import Backend
from whisper_server.settings import Settings
from whisper_server.speech.live_windows import LiveWindows
from whisper_server.speech.transcribe import Transcriber
from whisper_server.speech.turn_end import TurnEnds
from whisper_server.speech.vad import VoiceDetector
from whisper_server.speech.warm_up import warm_up
from whisper_server.speech.window_decoding import DecodingPolicy


@asynccontextmanager
async def load_backend(
    settings: Settings, metrics: Metrics, budget: MemoryBudget | None = None
) -> AsyncIterator[Backend]:
    """`budget` is that of the requests; None: no limit. Raises StartError."""
    budget = budget or MemoryBudget.unlimited()
    async with decoding_processes(settings) as pool:
        metrics.watch_worker_deaths(lambda: pool.n_worker_deaths, lambda: pool.n_sandbox_kills)
        jobs = pool.jobs
        metrics.watch_decoding(jobs.drained_after_s, lambda: jobs.n_running, lambda: jobs.n_waiting)
        async with loaded_model(settings, metrics.temperature_fallbacks.inc) as transcriber:
            # This process holds keys and other clients' recordings. Not before the model is loaded: an engine's process opens
            # the shared audio memory by way of /proc, which a process that is not root may then no longer do.
            forbid_memory_access()
            slots, estimator = transcriber.slots, transcriber.wait_estimator
            metrics.watch_windows(lambda: slots.n_held, lambda: max(0, estimator.n_open - slots.n_held))
            freeze_loaded_objects()
            trimming = trim_when_idle(lambda: bool(transcriber.transcriptions))
            diarizer = Diarizer() if settings.diarization else None
            turn_ends = TurnEnds(transcriber.threads, budget.reservation(SERVER))
            live = LiveWindows(transcriber, turn_ends)
            async with running(trimming):
                try:
                    yield Backend(transcriber.engine, transcriber, pool, live, diarizer)
                finally:
                    if diarizer is not None:
                        await diarizer.stop()


@asynccontextmanager
async def decoding_processes(settings: Settings) -> AsyncIterator[AudioDecoderPool]:
    """The audio decoders, started; leaving stops them. Raises StartError."""
    pool = AudioDecoderPool(
        settings.n_decode_workers,
        DecoderLimits(max_audio_s=settings.max_audio_seconds, max_decoded_s=settings.max_decoded_seconds),
        max_queue_s=settings.max_queue_seconds,
    )
    await pool.start()
    try:
        yield pool
    finally:
        await pool.stop()


@asynccontextmanager
async def loaded_model(
    settings: Settings, on_fallback: Callable[[], None] = lambda: None
) -> AsyncIterator[Transcriber]:
    """The pipeline with its model, loaded and warmed up. Raises StartError."""
    async with AsyncExitStack() as stack:
        # Quick, and may fail: before the model, which loads slowly.
        voice = await asyncio.to_thread(VoiceDetector)
        engine, tokenizer = await engines.load(settings)
        stack.push_async_callback(engine.stop)
        policy = DecodingPolicy(
            beam_size=settings.beam_size,
            fallback_temperatures=settings.fallback_temperatures,
            max_new_tokens=settings.max_new_tokens,
            n_text_positions=engine.facts.n_text_positions,
        )
        transcriber = Transcriber(
            engine,
            tokenizer,
            voice,
            policy,
            max_window_s=settings.whisper_segment_duration_sec,
            clock=time.monotonic,
            on_fallback=on_fallback,
        )
        await warm_up(transcriber, voice)
        yield transcriber

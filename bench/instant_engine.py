"""A server whose engine answers at once: everything in front of a GPU, without a GPU. For `front_end`.

It has the torch engine's windows on a host without a process, so that HTTP, upload, decoding, the write into shared
memory and the answer are all there. Takes the settings of the server from the environment.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from model_kit.demo import DEMO
from whisper_server.backend import decoding_processes
from whisper_server.engines.gpu.model_files import read_model_files
from whisper_server.engines.gpu.shared_audio import SharedAudioPool
from whisper_server.engines.torch.window import TorchWindow
from whisper_server.engines.torch.wire import (
    Aligned,
    AlignTask,
    Answer,
    DecodedTokens,
    DecodeTask,
    Detected,
    DetectTask,
    Place,
    Task,
)
from whisper_server.memory.budget import MemoryBudget
from whisper_server.memory.malloc import freeze_loaded_objects
from whisper_server.metrics import Metrics
from whisper_server.serve import run
from whisper_server.service import Backend
from whisper_server.settings import Settings
from whisper_server.speech.live_windows import LiveWindows
from whisper_server.speech.transcribe import Transcriber
from whisper_server.speech.vad import VoiceDetector
from whisper_server.speech.window_decoding import DecodingPolicy
from whisper_server.whisper.constants import POSITION_S, SAMPLE_RATE_HZ
from whisper_server.whisper.engine_protocol import Engine, ModelFacts
from whisper_server.whisper.tokens import WhisperTokenizer
from whisper_server.whisper.transcript import Samples

N_SLOTS = 512
N_TOKENS = 100
"""Of a file's window."""
TOKENS_PER_S = 4
"""Of a live window, whose text must grow with it."""
DOUBTFUL_LOGPROB = -0.5
"""Of a live text: most are so unlikely that the pipeline wants to know whether there is speech."""
SAID = (
    "The harbour office opens at nine, and the ferry to the islands leaves from the second pier twenty minutes later. "
)


class InstantEngine:
    """The torch engine's side in the server, whose process answers at once with `N_TOKENS` tokens of text."""

    def __init__(self) -> None:
        self.files = read_model_files(DEMO)
        self._pool = SharedAudioPool.create(N_SLOTS)
        self._ids = itertools.count()
        words = SAID + " ".join(f"{number} boats and {number + 7} nets." for number in range(30))
        self._tokens = (*self.files.tokenizer.encode_text(words)[: N_TOKENS - 1], self.files.vocabulary.endoftext)
        self._logprobs = (-0.1,) * N_TOKENS
        self._n_tokens: dict[int, int] = {}
        """By slot."""
        self._by_language = (0.0, *(-9.0,) * (len(self.files.vocabulary.languages) - 1))

    @property
    def facts(self) -> ModelFacts:
        return ModelFacts(
            model_id="instant",
            engine="torch",
            dtype="float32",
            device="none",
            is_multilingual=self.files.is_multilingual,
            n_text_positions=448,
            n_windows_in_flight=N_SLOTS,
        )

    async def start(self) -> None: ...

    async def stop(self) -> None:
        self._pool.close()

    def health(self) -> str | None:
        return None

    def open_window(
        self,
        samples: Samples,
        *,
        owner: str = "",  # noqa: ARG002 - of the Protocol
        is_live: bool = False,
        timestamps: bool = True,  # noqa: ARG002 - of the Protocol
    ) -> TorchWindow:
        return TorchWindow(self, samples, is_live=is_live)

    def next_id(self) -> int:
        return next(self._ids)

    async def acquire(self, samples: Samples, n_mel_frames: int, *, is_live: bool) -> Place:
        slot = await self._pool.acquire()
        self._n_tokens[slot] = TOKENS_PER_S * len(samples) // SAMPLE_RATE_HZ if is_live else N_TOKENS
        written = await self._pool.fill(slot, samples)
        return Place(self.next_id(), slot, written.scale, is_live, n_mel_frames)

    def release(self, slot: int) -> None:
        self._pool.release(slot)

    async def ask(self, task: Task) -> Answer:
        await asyncio.sleep(0)
        if isinstance(task, DetectTask):
            return Detected(task.task_id, self._by_language)
        if isinstance(task, AlignTask):
            return _aligned(task, len(task.text_tokens))
        assert isinstance(task, DecodeTask)
        n_tokens = min(self._n_tokens[task.place.slot], N_TOKENS - 1)
        if n_tokens == N_TOKENS - 1:
            aligned = _aligned(task, n_tokens) if task.sot_sequence else None
            return DecodedTokens(task.task_id, self._tokens, self._logprobs, -9.0, aligned)
        tokens = (*self._tokens[:n_tokens], self._tokens[-1])
        return DecodedTokens(task.task_id, tokens, (DOUBTFUL_LOGPROB,) * len(tokens), -9.0)


def _aligned(task: AlignTask | DecodeTask, n_tokens: int) -> Aligned:
    starts_s = tuple(round(task.n_positions * POSITION_S * at / n_tokens, 2) for at in range(n_tokens + 1))
    return Aligned(task.task_id, starts_s, (0.5,) * n_tokens)


@asynccontextmanager
async def backend_of(
    engine: Engine, tokenizer: WhisperTokenizer, settings: Settings, metrics: Metrics
) -> AsyncIterator[Backend]:
    """As `backend.load_backend`, but with an engine that is started, and stopped at the end."""
    async with decoding_processes(settings) as pool:
        policy = DecodingPolicy(1, settings.fallback_temperatures, 0, engine.facts.n_text_positions)
        transcriber = Transcriber(
            engine,
            tokenizer,
            VoiceDetector(),
            policy,
            max_window_s=settings.whisper_segment_duration_sec,
            clock=time.monotonic,
            on_fallback=metrics.temperature_fallbacks.inc,
        )
        freeze_loaded_objects()
        yield Backend(engine, transcriber, pool, LiveWindows(transcriber))
        await engine.stop()


@asynccontextmanager
async def load(settings: Settings, metrics: Metrics, _budget: MemoryBudget) -> AsyncIterator[Backend]:
    """With the instant engine, and open to a profiler."""
    engine = InstantEngine()
    async with backend_of(engine, engine.files.tokenizer, settings, metrics) as backend:
        yield backend


if __name__ == "__main__":
    sys.exit(run(Settings.from_env(os.environ), load))

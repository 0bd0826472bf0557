"""An engine on a clock of its own: each computation takes what it costs on an idle core, however busy the machine is.

The texts are those of the engine underneath. Costs are those of CTranslate2 with Whisper base in int8, the least of six
repetitions on a core of a Xeon (2026-11-29); two computations run at a time, as on two cores.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from whisper_server.whisper.constants import N_MEL_FRAMES
from whisper_server.whisper.engine_protocol import (
    Alignment,
    Decoded,
    DecodeRequest,
    Engine,
    EngineWindow,
    LanguageGuess,
    ModelFacts,
)
from whisper_server.whisper.mel import padded_mel_frames
from whisper_server.whisper.transcript import Samples

ENCODING_S = {1500: 0.37, 2000: 0.48, 2500: 0.8, 3000: 1.25}
"""By mel frames."""
CALL_S = 0.02
TOKEN_S = 0.0075
ALIGNED_TOKEN_S = 0.0012
N_CORES = 2
Answer = TypeVar("Answer")


class CostedEngine:
    """Implements the Engine protocol; starting and stopping are those of `inner`."""

    def __init__(self, inner: Engine, factor: float = 1.0) -> None:
        """`factor`: on all costs; a GPU's are about a tenth."""
        self.inner = inner
        self.factor = factor
        self.is_free = True
        """Costs nothing: for what is not measured."""
        self.total_s = 0.0
        self._cores = asyncio.Semaphore(N_CORES)

    @property
    def facts(self) -> ModelFacts:
        return self.inner.facts

    async def start(self) -> None:
        await self.inner.start()

    async def stop(self) -> None:
        await self.inner.stop()

    def health(self) -> str | None:
        return self.inner.health()

    def open_window(
        self, samples: Samples, *, owner: str = "", is_live: bool = False, timestamps: bool = True
    ) -> CostedWindow:
        inner = self.inner.open_window(samples, owner=owner, is_live=is_live, timestamps=timestamps)
        n_frames = padded_mel_frames(len(samples)) if is_live or not timestamps else N_MEL_FRAMES
        return CostedWindow(self, inner, n_frames)

    async def charge(self, cost_s: float) -> None:
        """Take so much of a core."""
        if not self.is_free:
            cost_s *= self.factor
            self.total_s += cost_s
            async with self._cores:
                await asyncio.sleep(cost_s)


class CostedWindow:
    """Implements the EngineWindow protocol."""

    def __init__(self, engine: CostedEngine, inner: EngineWindow, n_frames: int) -> None:
        self._engine, self._inner = engine, inner
        self._encoding_s = ENCODING_S[n_frames]

    async def detect_language(self) -> LanguageGuess:
        return await self._costed(self._inner.detect_language(), lambda _: CALL_S)

    async def decode(self, request: DecodeRequest) -> Decoded:
        return await self._costed(self._inner.decode(request), lambda decoded: CALL_S + TOKEN_S * len(decoded.tokens))

    async def align(self, sot_sequence: tuple[int, ...], text_tokens: tuple[int, ...]) -> Alignment:
        cost_s = CALL_S + ALIGNED_TOKEN_S * len(text_tokens)
        return await self._costed(self._inner.align(sot_sequence, text_tokens), lambda _: cost_s)

    def close(self) -> None:
        self._inner.close()

    async def _costed(self, answer: Awaitable[Answer], cost_s: Callable[[Answer], float]) -> Answer:
        found = await answer
        await self._engine.charge(self._encoding_s + cost_s(found))
        self._encoding_s = 0.0
        return found

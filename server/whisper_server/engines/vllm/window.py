"""One window on its way through vLLM: turns the Engine protocol's calls into requests, and their outputs into results.

Imports neither torch nor vllm.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Protocol

from whisper_server.engines.gpu.dtw import token_starts
from whisper_server.engines.gpu.model_files import ModelFiles
from whisper_server.engines.gpu.shared_audio import AudioSlot, SharedAudioPool
from whisper_server.engines.vllm.wire import (
    SIDE_CHANNEL_OFFSET,
    AlignResult,
    AlignTask,
    WhisperOutput,
    WhisperParams,
)
from whisper_server.errors import InternalError
from whisper_server.whisper.constants import FRAMES_PER_POSITION, MEL_HOP_SAMPLES
from whisper_server.whisper.engine_protocol import Alignment, Decoded, DecodeRequest, LanguageGuess
from whisper_server.whisper.transcript import Samples


class Generator(Protocol):
    """The part of the engine that a window uses."""

    @property
    def files(self) -> ModelFiles: ...

    @property
    def audio_pool(self) -> SharedAudioPool: ...

    async def generate(
        self, slot: AudioSlot, prompt: Sequence[int], params: WhisperParams, *, max_tokens: int
    ) -> WhisperOutput: ...

    async def align(self, task: AlignTask) -> AlignResult: ...


class VllmWindow:
    """Implements the EngineWindow protocol."""

    def __init__(self, engine: Generator, samples: Samples, *, is_live: bool = False) -> None:
        self._engine = engine
        self._samples = samples
        self._is_live = is_live
        self._slot: int | None = None
        self._writing: asyncio.Task[AudioSlot] | None = None

    async def detect_language(self) -> LanguageGuess:
        """The languages by probability, from one decoding step."""
        special = self._engine.files.tokenizer.special
        output = await self._engine.generate(
            await self._written(),
            [special.startoftranscript],
            WhisperParams(n_task_tokens=1, detects_language=True, is_live=self._is_live),
            max_tokens=1,
        )
        weights = [math.exp(logprob - SIDE_CHANNEL_OFFSET) for logprob in output.side_channel]
        total = sum(weights) or 1.0
        ranked = sorted(zip(special.languages, weights, strict=True), key=lambda pair: -pair[1])
        return LanguageGuess(tuple((code, weight / total) for code, weight in ranked))

    async def decode(self, request: DecodeRequest) -> Decoded:
        """Decode the window. Raises InternalError where vLLM ends before the text does."""
        files = self._engine.files
        n_free_positions = files.shape.n_text_positions - len(request.prompt_tokens)
        max_new_tokens = max(1, min(request.max_new_tokens, n_free_positions))
        output = await self._engine.generate(
            await self._written(),
            request.prompt_tokens,
            WhisperParams(
                n_task_tokens=request.n_task_tokens,
                timestamps=request.last_task_token != files.vocabulary.notimestamps,
                temperature=request.temperature,
                is_live=self._is_live,
            ),
            max_tokens=max_new_tokens,
        )
        has_ended = output.tokens[-1:] == (files.vocabulary.endoftext,)
        if not has_ended and len(output.tokens) < max_new_tokens:
            raise InternalError("The engine left off in the middle of this recording. Try again.")
        tokens = output.tokens[:-1] if has_ended else output.tokens
        has_nospeech = files.tokenizer.special.nospeech is not None
        return Decoded(
            tokens=tokens,
            sum_logprob=sum(output.logprobs),
            no_speech_prob=math.exp(output.side_channel[0] - SIDE_CHANNEL_OFFSET) if has_nospeech else 0.0,
            token_logprobs=output.logprobs[: len(tokens)] if request.logprobs else (),
            hit_length_limit=not has_ended,
        )

    async def align(self, sot_sequence: tuple[int, ...], text_tokens: tuple[int, ...]) -> Alignment:
        """Times of the text tokens in the window."""
        files, slot = self._engine.files, await self._written()
        n_frames = -(-len(self._samples) // MEL_HOP_SAMPLES)
        task = AlignTask(
            slot=slot.index,
            scale=slot.scale,
            n_positions=max(1, n_frames // FRAMES_PER_POSITION),
            heads=files.alignment_heads,
            sot_sequence=sot_sequence,
            notimestamps=files.vocabulary.notimestamps,
            text_tokens=text_tokens,
            endoftext=files.vocabulary.endoftext,
        )
        result = await self._engine.align(task)
        return Alignment(await asyncio.to_thread(token_starts, result.attention), result.probabilities)

    def close(self) -> None:
        """Release the slot. Calls in flight are dropped by cancelling them."""
        writing, self._writing = self._writing, None
        if writing is None:
            return
        if writing.done():
            self._release()
        else:
            # After a cancelled call a thread may still write: no other window may get the slot before it has finished.
            writing.add_done_callback(lambda _: self._release())

    def _release(self) -> None:
        slot, self._slot = self._slot, None
        if slot is not None:
            self._engine.audio_pool.release(slot)

    async def _written(self) -> AudioSlot:
        """The slot, once the samples are in it."""
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return await asyncio.shield(self._writing)

    async def _write(self) -> AudioSlot:
        # There are as many slots as windows in flight, but a thread may still write to that of a closed window.
        self._slot = await self._engine.audio_pool.acquire()
        return await asyncio.to_thread(self._engine.audio_pool.write, self._slot, self._samples)

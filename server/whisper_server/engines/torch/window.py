"""One window on its way through the torch engine. Implements the EngineWindow protocol; knows no torch."""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

from whisper_server.engines.gpu.model_files import ModelFiles
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
from whisper_server.whisper.constants import FRAMES_PER_POSITION, MEL_HOP_SAMPLES, N_MEL_FRAMES
from whisper_server.whisper.engine_protocol import Alignment, Decoded, DecodeRequest, LanguageGuess
from whisper_server.whisper.transcript import Samples


class Host(Protocol):
    """The engine, as a window sees it."""

    @property
    def files(self) -> ModelFiles: ...

    def next_id(self) -> int: ...

    async def acquire(self, samples: Samples, n_mel_frames: int, *, is_live: bool) -> Place:
        """A slot with the samples written into it."""

    def release(self, slot: int) -> None: ...

    async def ask(self, task: Task) -> Answer:
        """Raises ApiError; a cancelled call cancels the task."""


class TorchWindow:
    """Holds a slot from its first use to `close`."""

    def __init__(
        self, engine: Host, samples: Samples, n_mel_frames: int = N_MEL_FRAMES, *, is_live: bool = False
    ) -> None:
        """`n_mel_frames`: that it is padded to."""
        self._engine = engine
        self._n_mel_frames, self._is_live = n_mel_frames, is_live
        self._samples = samples
        self._placing: asyncio.Task[Place] | None = None
        n_frames = -(-len(samples) // MEL_HOP_SAMPLES)
        self._n_positions = max(1, n_frames // FRAMES_PER_POSITION)
        self._alignments: dict[tuple[tuple[int, ...], tuple[int, ...]], Alignment] = {}
        """That came with the last text."""

    async def detect_language(self) -> LanguageGuess:
        """Which language is spoken."""
        answer = await self._engine.ask(DetectTask(self._engine.next_id(), await self._place()))
        assert isinstance(answer, Detected)
        weights = [math.exp(logprob) for logprob in answer.logprobs]
        total = sum(weights) or 1.0
        ranked = sorted(
            zip(self._engine.files.tokenizer.special.languages, weights, strict=True), key=lambda pair: -pair[1]
        )
        return LanguageGuess(tuple((code, weight / total) for code, weight in ranked))

    async def decode(self, request: DecodeRequest) -> Decoded:
        """Decode the window."""
        files = self._engine.files
        room = files.shape.n_text_positions - len(request.prompt_tokens)
        task = DecodeTask(
            self._engine.next_id(),
            await self._place(),
            prompt=request.prompt_tokens,
            n_task_tokens=request.n_task_tokens,
            timestamps=request.last_task_token != files.vocabulary.notimestamps,
            temperature=request.temperature,
            max_new_tokens=max(1, min(request.max_new_tokens, room)),
            sot_sequence=request.sot_sequence,
            n_positions=self._n_positions,
        )
        answer = await self._engine.ask(task)
        assert isinstance(answer, DecodedTokens)
        has_ended = answer.tokens[-1:] == (files.vocabulary.endoftext,)
        tokens = answer.tokens[:-1] if has_ended else answer.tokens
        self._alignments.clear()
        if answer.aligned is not None:
            text_tokens = files.tokenizer.text_tokens(tokens)
            self._alignments[request.sot_sequence, text_tokens] = _alignment(answer.aligned)
        has_nospeech = files.tokenizer.special.nospeech is not None
        return Decoded(
            tokens=tokens,
            sum_logprob=sum(answer.logprobs),
            no_speech_prob=math.exp(answer.no_speech_logprob) if has_nospeech else 0.0,
            token_logprobs=answer.logprobs[: len(tokens)] if request.logprobs else (),
            hit_length_limit=not has_ended,
        )

    async def align(self, sot_sequence: tuple[int, ...], text_tokens: tuple[int, ...]) -> Alignment:
        """Times of the text tokens in the window."""
        if (sot_sequence, text_tokens) in self._alignments:
            return self._alignments[sot_sequence, text_tokens]
        task = AlignTask(
            self._engine.next_id(),
            await self._place(),
            n_positions=self._n_positions,
            sot_sequence=sot_sequence,
            text_tokens=text_tokens,
        )
        answer = await self._engine.ask(task)
        assert isinstance(answer, Aligned)
        return _alignment(answer)

    def close(self) -> None:
        """Give the slot back. Tasks are dropped by cancelling the calls that wait for them."""
        placing, self._placing = self._placing, None
        if placing is None:
            return
        if placing.done():
            self._release(placing)
        else:
            # A thread may still write: the slot is free when it has ended.
            placing.add_done_callback(self._release)

    def _release(self, placing: asyncio.Task[Place]) -> None:
        if not placing.cancelled() and placing.exception() is None:
            self._engine.release(placing.result().slot)

    async def _place(self) -> Place:
        if self._placing is None:
            placing = self._engine.acquire(self._samples, self._n_mel_frames, is_live=self._is_live)
            self._placing = asyncio.create_task(placing)
        return await asyncio.shield(self._placing)


def _alignment(answer: Aligned) -> Alignment:
    return Alignment(answer.starts_s, answer.probabilities)

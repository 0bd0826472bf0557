"""One window on its way through vLLM: our requests in its terms, its answers in ours. Knows neither torch nor vllm."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from whisper_server.engine_protocol import Alignment, Decoded, DecodeRequest, LanguageGuess
from whisper_server.engines.vllm.dtw import token_starts
from whisper_server.engines.vllm.model_files import ModelFiles
from whisper_server.engines.vllm.plans import N_CLOSING, Plan, spelled_out
from whisper_server.errors import InternalError
from whisper_server.transcript import MEL_HOP_SAMPLES, Samples

FRAMES_A_POSITION = 2
FULL_SCALE = 32767.0


@dataclass(frozen=True)
class Sound:
    """A window as it crosses to the engine: 16-bit samples, and what to multiply them with.

    The error is 98 dB below the loudest sample, and a third of what log-mel features would take crosses.
    """

    samples: npt.NDArray[np.int16]
    scale: float

    @classmethod
    def of(cls, samples: Samples) -> Sound:
        """Pack a window."""
        loudest = float(np.abs(samples).max(initial=0.0)) or 1.0
        return cls(np.rint(samples * (FULL_SCALE / loudest)).astype(np.int16), loudest / FULL_SCALE)


class Answer(Protocol):
    """What the engine made of a request."""

    @property
    def tokens(self) -> tuple[int, ...]: ...

    @property
    def columns(self) -> tuple[tuple[float, ...], ...]:
        """A row a token, where columns were asked for: its log-probability, then those."""


class Generator(Protocol):
    """The engine, as a window sees it."""

    @property
    def files(self) -> ModelFiles: ...

    async def generate(
        self, sound: Sound, prompt: Sequence[int], plan: Plan, *, max_tokens: int, columns: Sequence[int]
    ) -> Answer: ...

    async def align(self, request: list[Any]) -> Any: ...


class VllmWindow:
    """Implements the EngineWindow protocol."""

    def __init__(self, engine: Generator, samples: Samples) -> None:
        self._engine = engine
        self._samples = samples
        self._sound: Sound | None = None

    async def detect_language(self) -> LanguageGuess:
        """Which language is spoken: one step."""
        special, vocabulary = self._engine.files.tokenizer.special, self._engine.files.vocabulary
        answer = await self._engine.generate(
            await self._packed(),
            [special.startoftranscript],
            Plan(detects=True),
            max_tokens=1,
            columns=vocabulary.languages,
        )
        weights = [math.exp(logprob) for logprob in answer.columns[0][1:]]
        total = sum(weights) or 1.0
        ranked = sorted(zip(special.languages, weights, strict=True), key=lambda pair: -pair[1])
        return LanguageGuess(tuple((code, weight / total) for code, weight in ranked))

    async def decode(self, request: DecodeRequest) -> Decoded:
        """Decode the window. What follows `<|startoftranscript|>` in the prompt is decoded too, but not free."""
        n_forced = request.n_task_tokens - 1
        n_prompt = len(request.prompt_tokens) - n_forced
        forced = request.prompt_tokens[n_prompt:]
        files = self._engine.files
        vocabulary = files.vocabulary
        room = files.shape.n_text_positions - len(request.prompt_tokens) - N_CLOSING
        max_new_tokens = max(1, min(request.max_new_tokens, room))
        answer = await self._engine.generate(
            await self._packed(),
            request.prompt_tokens[:n_prompt],
            Plan(
                forced=forced,
                timestamps=request.prompt_tokens[-1] != vocabulary.notimestamps,
                temperature=request.temperature,
                max_new_tokens=max_new_tokens,
                logprobs=request.logprobs,
            ),
            max_tokens=n_forced + max_new_tokens + N_CLOSING,
            columns=[vocabulary.nospeech] if request.logprobs else [],
        )
        tokens, closing = answer.tokens[n_forced:-N_CLOSING], answer.tokens[-N_CLOSING:]
        if closing[-1:] != (vocabulary.stop,):
            raise InternalError("The engine left off in the middle of this recording. Try again.")
        sum_logprob, no_speech_prob = spelled_out(closing)
        return Decoded(
            tokens=tokens,
            sum_logprob=sum_logprob,
            no_speech_prob=0.0 if files.tokenizer.special.nospeech is None else no_speech_prob,
            token_logprobs=tuple(columns[0] for columns in answer.columns[n_forced:-N_CLOSING]),
            hit_length_limit=len(tokens) >= max_new_tokens,
        )

    async def align(self, sot_sequence: tuple[int, ...], text_tokens: tuple[int, ...]) -> Alignment:
        """Times of the text tokens in the window."""
        files, sound = self._engine.files, await self._packed()
        n_positions = max(1, -(-len(self._samples) // MEL_HOP_SAMPLES) // FRAMES_A_POSITION)
        n_rows, n_columns, matrix, probabilities = await self._engine.align(
            [
                sound.samples.tobytes(),
                sound.scale,
                n_positions,
                [list(pair) for pair in files.alignment_heads],
                list(sot_sequence),
                files.vocabulary.notimestamps,
                list(text_tokens),
                files.vocabulary.endoftext,
            ]
        )
        attention = np.frombuffer(matrix, dtype=np.float32).reshape(n_rows, n_columns)
        return Alignment(await asyncio.to_thread(token_starts, attention), tuple(probabilities))

    def close(self) -> None:
        """Forget the sound. Work under way is dropped by cancelling the call that waits for it."""
        self._sound = None

    async def _packed(self) -> Sound:
        if self._sound is None:
            self._sound = await asyncio.to_thread(Sound.of, self._samples)
        return self._sound

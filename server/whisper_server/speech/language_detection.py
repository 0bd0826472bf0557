"""Detects the language of one recording, and of each window of it, in windows that are decoded afterwards.

A window that is open for detection keeps its slot and its encoder output until it is decoded. `language` decides from
the probabilities; `transcribe` decodes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass

from whisper_server.fairness.fair_semaphore import FairThreads
from whisper_server.speech.language import (
    MIN_CHANGE_S,
    SILENCE_LANGUAGE,
    LanguageVote,
    is_dither,
    language_of_window,
)
from whisper_server.speech.vad import VoiceDetector
from whisper_server.speech.voice_activity import with_speech
from whisper_server.speech.windows import Window
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.engine_protocol import EngineWindow, LanguageGuess
from whisper_server.whisper.tokens import WhisperTokenizer
from whisper_server.whisper.transcript import Options, Samples


@dataclass(frozen=True)
class WindowSlot:
    """A window inside the engine, with the slot that it occupies."""

    engine_window: EngineWindow
    release: AsyncExitStack
    """Closes the window and releases the slot."""


class LanguageDetection:
    """The languages of one recording."""

    def __init__(
        self,
        options: Options,
        tokenizer: WhisperTokenizer,
        voice: VoiceDetector,
        max_window_s: float,
        threads: FairThreads,
    ) -> None:
        self._given = options.language if tokenizer.is_multilingual else "en"
        self._candidates = options.languages or tuple(tokenizer.languages)
        self._voice, self._threads = voice, threads
        self._max_samples = round(max_window_s * SAMPLE_RATE_HZ)
        self._slots: dict[Window, WindowSlot] = {}
        self._guesses: dict[Window, LanguageGuess] = {}
        self.without_words = self._given or next(iter(options.languages), SILENCE_LANGUAGE)
        """The language of a recording without words."""

    async def of_recording(
        self, samples: Samples, windows: Sequence[Window], open_window: Callable[[Window], Awaitable[WindowSlot]]
    ) -> str:
        """The language that the request names, or else that of the first windows with speech."""
        if self._given is not None:
            return self._given
        vote = LanguageVote(self._candidates)
        async with aclosing(self._heard(samples, windows)) as heard:
            async for window in heard:
                # One slot at a time: only the last window is decoded without being encoded again.
                await self.close()
                slot = self._slots[window] = await open_window(window)
                guess = self._guesses[window] = await slot.engine_window.detect_language()
                vote.add(guess)
                if vote.is_decided:
                    break
        return vote.language if self._guesses else self.without_words

    async def of_window(self, window: Window, engine_window: EngineWindow, recording_language: str) -> str:
        """The recording's language, or another one that the window is clearly in."""
        if self._given is not None or len(self._candidates) == 1 or window.duration_s < MIN_CHANGE_S:
            return recording_language
        guess = self._guesses.get(window) or await engine_window.detect_language()
        return language_of_window(guess, recording_language, self._candidates)

    def take(self, window: Window) -> WindowSlot | None:
        """The slot of a window that is open, which now belongs to the caller."""
        return self._slots.pop(window, None)

    async def close(self) -> None:
        """Release the windows that are open."""
        slots = list(self._slots.values())
        self._slots.clear()
        for slot in slots:
            await slot.release.aclose()

    async def _heard(self, samples: Samples, windows: Sequence[Window]) -> AsyncGenerator[Window]:
        """The windows with speech; the first window if none has speech, and it is louder than dither."""
        has_speech = False
        async for window in with_speech(self._threads, self._voice, samples, windows):
            has_speech = True
            yield window
        if not has_speech and not await self._threads.run(is_dither, samples):
            yield windows[0] if windows else Window(0, min(len(samples), self._max_samples))

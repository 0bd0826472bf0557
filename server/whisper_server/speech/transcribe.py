"""The pipeline: cuts a recording into windows, transcribes them concurrently and joins the results.

Uses the engine through its Protocol only. `window_transcription` handles a single window. No HTTP, files or formats.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any, Self

from whisper_server.fairness.fair_semaphore import FairSemaphore, FairThreads
from whisper_server.speech.language import check_languages
from whisper_server.speech.language_detection import LanguageDetection, WindowSlot
from whisper_server.speech.loudness import AudibleFrames
from whisper_server.speech.previous_text import PreviousText
from whisper_server.speech.vad import Spans, VoiceDetector
from whisper_server.speech.voice_activity import speech_spans, split_windows
from whisper_server.speech.wait_estimator import WaitEstimator
from whisper_server.speech.window_decoding import DecodingPolicy, WindowDecoder
from whisper_server.speech.window_transcription import WindowTranscriber
from whisper_server.speech.windows import Window, cut, cut_by_speech
from whisper_server.whisper.constants import AUDIO_POSITIONS_PER_S, SAMPLE_RATE_HZ
from whisper_server.whisper.engine_protocol import Engine
from whisper_server.whisper.languages import after_text
from whisper_server.whisper.tokens import WhisperTokenizer
from whisper_server.whisper.transcript import Options, Samples, Task, Transcript, WindowTranscript

QUICK_CHARACTERS = 400
"""Of prompt and keywords, whose tokens are found in 0.15 ms: the way to a thread and back costs the server 0.4."""


class Transcriber:
    """Turns recordings into transcripts; the windows of all recordings share the engine fairly."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: WhisperTokenizer,
        voice: VoiceDetector,
        policy: DecodingPolicy,
        *,
        max_window_s: float,
        clock: Callable[[], float],
        on_fallback: Callable[[], None] = lambda: None,
    ) -> None:
        self.engine = engine
        self.tokenizer = tokenizer
        self.voice = voice
        self.policy = policy
        self.max_window_s = max_window_s
        self.on_fallback = on_fallback
        # A window of silence holds its slot for up to six decodes of 224 tokens, a clip's for one of 20.
        n_for_newcomers = engine.facts.n_windows_for_newcomers
        n_slots = engine.facts.n_windows_in_flight + n_for_newcomers
        self.slots = FairSemaphore(
            n_slots, clock, n_for_newcomers=n_for_newcomers, max_urgent=engine.facts.max_live_windows
        )
        self.threads = FairSemaphore(len(os.sched_getaffinity(0)))  # long recordings would take all of them
        self.wait_estimator = WaitEstimator(clock, engine.facts.n_windows_in_flight)
        self.transcriptions: set[Transcription] = set()

    def transcribe(self, samples: Samples, options: Options, owner: str = "") -> Transcription:
        """The transcription of one recording, not started. Raises BadRequest for a language that the model lacks."""
        check_languages(self.tokenizer, options)
        return Transcription(self, samples, options, owner)

    def queued_audio_s(self) -> float:
        """Seconds of audio in all recordings that are queued or running."""
        return sum(one.duration_s for one in self.transcriptions)

    def estimated_wait_s(self, owner: str = "", audio_s: float = 0.0) -> float:
        """Seconds that a new recording of `owner` waits for others."""
        return self.wait_estimator.wait_s(owner, self.n_windows(audio_s))

    def work_s(self, audio_s: float) -> float:
        """Seconds that a recording takes alone; 0 if it is not known."""
        return self.wait_estimator.work_s(self.n_windows(audio_s))

    def n_windows(self, audio_s: float) -> int:
        """Before the recording is cut."""
        return max(1, math.ceil(audio_s / self.max_window_s))


class Transcription:
    """One recording. An async context manager: leaving it cancels and frees all of its work."""

    def __init__(self, transcriber: Transcriber, samples: Samples, options: Options, owner: str) -> None:
        self._transcriber, self._owner = transcriber, owner
        self._threads = FairThreads(transcriber.threads, owner, id(self))
        self._samples, self._options = samples, options
        self._previous: tuple[int, ...] = ()
        self._frames: AudibleFrames | None = None
        self._tasks: list[asyncio.Task[WindowTranscript]] = []
        self._language: asyncio.Task[str] | None = None
        self._detection = LanguageDetection(
            options, transcriber.tokenizer, transcriber.voice, transcriber.max_window_s, self._threads
        )
        self._n_samples, self.duration_s = len(samples), len(samples) / SAMPLE_RATE_HZ
        """Length of the recording."""
        self._open_engine_window = partial(transcriber.engine.open_window, owner=owner, timestamps=options.timestamps)

    async def __aenter__(self) -> Self:
        self._transcriber.transcriptions.add(self)
        self._transcriber.wait_estimator.add(self._owner, self, self._transcriber.n_windows(self.duration_s))
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks: list[asyncio.Task[Any]] = [*self._tasks, *([self._language] if self._language else [])]
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:  # a second cancellation must not leave the transcription counted as open
            await self._detection.close()
            self._transcriber.wait_estimator.drop(self._owner, self)
            self._transcriber.transcriptions.discard(self)
            self._drop_references()

    def _drop_references(self) -> None:
        """End the cycles through tasks, their tracebacks and frames: without them the samples are freed at once.

        The collector would free them later, if at all: loaded objects are frozen, and a collection of the oldest
        generation is rare. Seven recordings of clients that had left once held 5.3 GB.
        """
        self._tasks = []
        self._language = None
        self._samples = self._samples[:0].copy()

    async def windows(self) -> AsyncIterator[WindowTranscript]:
        """The windows in order, each as soon as it is accepted. Raises ApiError."""
        voice, activity = self._transcriber.voice, self._options.voice_activity
        speech = None if activity is None else await speech_spans(self._threads, voice, self._samples, activity)
        prepared = self._prepare(speech) if self._is_quick else await self._threads.run(self._prepare, speech)
        windows, self._previous = prepared
        if speech is None:
            self._frames = AudibleFrames(self._samples) if len(windows) == 1 else None
            windows = await split_windows(self._threads, voice, self._samples, windows, self._frames)
        self._language = asyncio.create_task(self._detection.of_recording(self._samples, windows, self._open))
        n_more = len(windows) - self._transcriber.n_windows(self.duration_s)
        self._transcriber.wait_estimator.add(self._owner, self, n_more)
        texts = PreviousText(self._transcriber.tokenizer, self._options, self._previous, len(windows))
        self._tasks = [
            asyncio.create_task(self._transcribe(window, number, texts)) for number, window in enumerate(windows)
        ]
        has_text = False
        for number in range(len(windows)):
            # Without a local name for the task: a frame in its traceback would refer to it.
            window = await self._tasks[number]
            window = replace(window, text=self._joined(window, has_text=has_text))
            has_text = has_text or bool(window.text)
            yield window
        await self._language

    async def transcript(self) -> Transcript:
        """The whole recording. Raises ApiError."""
        return self.assemble([window async for window in self.windows()])

    def assemble(self, windows: Sequence[WindowTranscript]) -> Transcript:
        """Join the results of `windows`, after it has ended and before the transcription is left."""
        assert self._language is not None, "windows() has not ended"
        options = self._options
        text = "".join(window.text for window in windows)
        language = self._language.result() if text else self._detection.without_words
        segments = enumerate(segment for window in windows for segment in window.segments)
        return Transcript(
            task=options.task,
            languages=tuple(dict.fromkeys([language, *(window.language for window in windows if window.text)])),
            duration_s=self.duration_s,
            text=text,
            segments=tuple(one if one.id == index else replace(one, id=index) for index, one in segments),
            logprobs=tuple(logprob for window in windows for logprob in window.logprobs),
            n_prompt_tokens=len(self._previous),
            n_audio_tokens=-(-self._n_samples * AUDIO_POSITIONS_PER_S // SAMPLE_RATE_HZ),
            n_output_tokens=sum(window.n_output_tokens for window in windows),
        )

    def _prepare(self, speech: Spans | None) -> tuple[tuple[Window, ...], tuple[int, ...]]:
        """The windows, those over the `speech` if it is given, and the tokens of prompt and keywords."""
        samples, max_s = self._samples, self._transcriber.max_window_s
        windows = cut(samples, max_s) if speech is None else cut_by_speech(samples, speech, max_s)
        return windows, self._transcriber.tokenizer.previous_text(self._options.prompt, self._options.keywords)

    @property
    def _is_quick(self) -> bool:
        """Whether it is prepared in a fraction of a millisecond: as most recordings."""
        n_characters = len(self._options.prompt) + sum(map(len, self._options.keywords))
        return self._transcriber.n_windows(self.duration_s) == 1 and n_characters <= QUICK_CHARACTERS

    async def _open(self, window: Window) -> WindowSlot:
        """Wait for a slot of the engine, and open the window in it."""
        async with AsyncExitStack() as opening:
            await opening.enter_async_context(self._transcriber.slots.slot(self._owner, self))
            engine_window = self._open_engine_window(window.of(self._samples))
            opening.callback(engine_window.close)
            release = opening.pop_all()
        return WindowSlot(engine_window, release)

    async def _transcribe(self, window: Window, number: int, texts: PreviousText) -> WindowTranscript:
        assert self._language is not None
        recording_language = await asyncio.shield(self._language)
        transcriber = self._transcriber
        slot = self._detection.take(window)
        if slot is not None and texts.is_awaited(number):
            await slot.release.aclose()
            slot = None
        previous = await texts.of(number)
        slot = slot or await self._open(window)
        texts.begin(number)
        # A window that fails says nothing: those that wait for it hold slots.
        slot.release.callback(texts.say, number, WindowTranscript("", (), language=recording_language))
        async with slot.release:
            language = await self._detection.of_window(window, slot.engine_window, recording_language)
            decoder = WindowDecoder(
                tokenizer=transcriber.tokenizer,
                policy=transcriber.policy,
                voice=transcriber.voice,
                options=self._options,
                language=language,
                previous=previous,
                on_fallback=transcriber.on_fallback,
                previous_if_unsure=partial(texts.of_unsure, number) if texts.may_help(number) else None,
            )
            single = WindowTranscriber(decoder, self._open_engine_window, self._frames)
            result = await single.transcribe(slot.engine_window, window.of(self._samples), window)
            result = replace(result, language=language)
            texts.say(number, result)
        transcriber.wait_estimator.finish(self._owner, self)
        return result

    def _joined(self, window: WindowTranscript, *, has_text: bool) -> str:
        """The window's text, to be appended to the text so far: with a space between words, none at the start."""
        if not has_text:
            return window.text.lstrip()
        return after_text(window.text, "en" if self._options.task is Task.TRANSLATE else window.language)

"""The pipeline: a recording is cut into windows, which are transcribed side by side and put together again.

Sees the engine through its Protocol only. What happens to a single window belongs to
`window_transcription`; HTTP, files and formats are unknown here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any, Self

from whisper_server.errors import BadRequest
from whisper_server.speech.fair_semaphore import FairSemaphore
from whisper_server.speech.vad import Spans, VoiceDetector
from whisper_server.speech.voice_activity import first_with_speech, speech_spans, split_windows
from whisper_server.speech.wait_estimator import WaitEstimator
from whisper_server.speech.window_transcription import DecodingPolicy, WindowTranscriber
from whisper_server.speech.windows import Window, cut, cut_by_speech
from whisper_server.whisper.constants import AUDIO_POSITIONS_PER_S, SAMPLE_RATE_HZ
from whisper_server.whisper.engine_protocol import Engine, EngineWindow
from whisper_server.whisper.languages import WRITTEN_WITHOUT_SPACES
from whisper_server.whisper.tokens import WhisperTokenizer
from whisper_server.whisper.transcript import Options, Samples, Task, Transcript, WindowTranscript


@dataclass(frozen=True)
class SpokenLanguage:
    """What a recording is taken to be spoken in."""

    code: str
    probability: float


@dataclass(frozen=True)
class OpenWindow:
    """A window inside the engine that holds a place there."""

    engine_window: EngineWindow
    until_closed: AsyncExitStack
    """Forgets the window and gives the place back."""


class Transcriber:
    """FairSemaphore recordings into transcripts; windows of all of them share the engine, taking turns."""

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
        self.slots = FairSemaphore(engine.facts.n_windows_in_flight)
        self.wait_estimator = WaitEstimator(clock)
        self.jobs: set[Transcription] = set()
        self.n_opened = 0

    def open(self, samples: Samples, options: Options) -> Transcription:
        """A job for one recording; no work yet. Raises BadRequest for a language that the model lacks."""
        known = self.tokenizer.languages
        for param, code in (("language", options.language), *(("languages", code) for code in options.languages)):
            if code is not None and code not in known:
                raise BadRequest(
                    f"This model does not know the language {code!r}; it knows {', '.join(sorted(known))}.", param=param
                )
        self.n_opened += 1
        return Transcription(self, samples, options)

    def queued_audio_s(self) -> float:
        """Seconds of sound in all recordings that wait or run."""
        return sum(job.duration_s for job in self.jobs)

    def estimated_wait_s(self) -> float:
        """Seconds until all that waits now is done, at the speed of late."""
        return self.wait_estimator.wait_s()


class Transcription:
    """One recording. An async context manager: leaving it ends and forgets all its work."""

    def __init__(self, transcriber: Transcriber, samples: Samples, options: Options) -> None:
        self._transcriber = transcriber
        self._samples = samples
        self._options = options
        self._previous: tuple[int, ...] = ()
        """Tokens of prompt and keywords, the same for every window."""
        self._tasks: list[asyncio.Task[WindowTranscript]] = []
        self._language: asyncio.Task[SpokenLanguage] | None = None
        self._heard: dict[Window, OpenWindow] = {}
        """The window that the language was found in: it is encoded already, and keeps its place."""
        self._n_unfinished = 0

    @property
    def duration_s(self) -> float:
        """Length of the recording."""
        return len(self._samples) / SAMPLE_RATE_HZ

    async def __aenter__(self) -> Self:
        self._transcriber.jobs.add(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks: list[asyncio.Task[Any]] = [*self._tasks, *([self._language] if self._language else [])]
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:  # cancelled once more, the job must still not count as open for ever
            for heard in self._heard.values():
                await heard.until_closed.aclose()
            self._transcriber.wait_estimator.drop(self._n_unfinished)
            self._transcriber.jobs.discard(self)

    async def windows(self) -> AsyncIterator[WindowTranscript]:
        """The windows in order, each as soon as it is accepted. Raises ApiError."""
        voice, activity = self._transcriber.voice, self._options.voice_activity
        speech = None if activity is None else await speech_spans(voice, self._samples, activity)
        windows, self._previous = await asyncio.to_thread(self._prepare, speech)
        if speech is None:
            windows = await split_windows(voice, self._samples, windows)
        self._language = asyncio.create_task(self._find_language(windows))
        self._n_unfinished = len(windows)
        self._transcriber.wait_estimator.add(len(windows))
        self._tasks = [asyncio.create_task(self._transcribe(window)) for window in windows]
        has_text = False
        for task in self._tasks:
            window = await task
            window = replace(window, text=self._joined(window.text, has_text=has_text))
            has_text = has_text or bool(window.text)
            yield window
        await self._language

    async def transcript(self) -> Transcript:
        """The whole recording. Raises ApiError."""
        return self.assemble([window async for window in self.windows()])

    def assemble(self, windows: Sequence[WindowTranscript]) -> Transcript:
        """Put together what `windows` gave, once it has ended."""
        assert self._language is not None, "windows() has not ended"
        language = self._language.result()
        options = self._options
        segments = (segment for window in windows for segment in window.segments)
        return Transcript(
            task=options.task,
            language=language.code,
            language_probability=language.probability,
            duration_s=self.duration_s,
            text="".join(window.text for window in windows),
            segments=tuple(replace(segment, id=index) for index, segment in enumerate(segments)),
            logprobs=tuple(logprob for window in windows for logprob in window.logprobs),
            n_prompt_tokens=len(self._previous),
            n_audio_tokens=-(-len(self._samples) * AUDIO_POSITIONS_PER_S // SAMPLE_RATE_HZ),
            n_output_tokens=sum(window.n_output_tokens for window in windows),
        )

    def _prepare(self, speech: Spans | None) -> tuple[Sequence[Window], tuple[int, ...]]:
        """The windows, and the tokens of prompt and keywords: both take a while for long ones.

        Where voice activity was asked for, only windows with `speech` in them.
        """
        options, max_s = self._options, self._transcriber.max_window_s
        windows = cut(self._samples, max_s) if speech is None else cut_by_speech(self._samples, speech, max_s)
        return windows, self._transcriber.tokenizer.previous_text(options.prompt, options.keywords)

    async def _open(self, window: Window) -> OpenWindow:
        """Wait for a place at the engine, and open the window there."""
        async with AsyncExitStack() as opening:
            await opening.enter_async_context(self._transcriber.slots.slot(self))
            engine_window = self._transcriber.engine.open_window(window.of(self._samples))
            opening.callback(engine_window.close)
            until_closed = opening.pop_all()
        return OpenWindow(engine_window, until_closed)

    async def _find_language(self, windows: Sequence[Window]) -> SpokenLanguage:
        """Given, or heard in the first window in which somebody speaks."""
        options, tokenizer = self._options, self._transcriber.tokenizer
        if options.language is not None:
            return SpokenLanguage(options.language, 1.0)
        if not tokenizer.is_multilingual:
            return SpokenLanguage("en", 1.0)
        window = await self._first_with_speech(windows)
        self._heard[window] = await self._open(window)
        guess = await self._heard[window].engine_window.detect_language()
        heard = dict(guess.probabilities)
        allowed = {code: heard.get(code, 0.0) for code in options.languages or tokenizer.languages}
        code = max(allowed, key=lambda code: allowed[code])
        return SpokenLanguage(code, allowed[code] / (sum(allowed.values()) or 1.0))

    async def _first_with_speech(self, windows: Sequence[Window]) -> Window:
        found = await first_with_speech(self._transcriber.voice, self._samples, windows)
        if found is not None:
            return found
        longest = round(self._transcriber.max_window_s * SAMPLE_RATE_HZ)
        return windows[0] if windows else Window(0, min(len(self._samples), longest))

    async def _transcribe(self, window: Window) -> WindowTranscript:
        assert self._language is not None
        language = await asyncio.shield(self._language)
        transcriber = self._transcriber
        single = WindowTranscriber(
            tokenizer=transcriber.tokenizer,
            policy=transcriber.policy,
            has_speech=transcriber.voice.has_speech,
            options=self._options,
            language=language.code,
            previous=self._previous,
            on_fallback=transcriber.on_fallback,
        )
        opened = self._heard.pop(window, None) or await self._open(window)
        async with opened.until_closed:
            result = await single.transcribe(opened.engine_window, window.of(self._samples), window)
        transcriber.wait_estimator.finish()
        self._n_unfinished -= 1
        return result

    def _joined(self, text: str, *, has_text: bool) -> str:
        """The window's text as it follows on what came before: words apart, no space at the beginning."""
        if not has_text:
            return text.lstrip()
        assert self._language is not None
        spaced = self._options.task is Task.TRANSLATE or self._language.result().code not in WRITTEN_WITHOUT_SPACES
        return f" {text}" if text and spaced and not text.startswith(" ") else text

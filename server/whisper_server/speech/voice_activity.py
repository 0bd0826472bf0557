"""Runs the voice detector on recordings of any length, off the event loop and in short steps.

A single call for hours of audio would occupy one of the few threads that all requests share, even after its
request was cancelled. Steps of different requests take turns. `vad` detects the speech; `transcribe` uses the result.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from whisper_server.fairness.fair_semaphore import FairThreads
from whisper_server.speech.loudness import AudibleFrames
from whisper_server.speech.vad import Spans, VoiceDetector, confident_from, run_step
from whisper_server.speech.windows import Window, has_long_pause, split_after_pauses
from whisper_server.whisper.transcript import Samples, VoiceActivity


class Voice(Protocol):
    """The calls of `VoiceDetector` that a window needs."""

    def has_speech(self, samples: Samples, *, threshold: float = ...) -> bool:
        """Whether `samples` have speech in them."""

    def first_speech(self, samples: Samples) -> int | None:
        """The sample at which the first speech begins."""

    def speech_spans(self, samples: Samples, activity: VoiceActivity = ...) -> Spans:
        """The spans of speech."""


class HeardVoice:
    """Implements `Voice` for a window in which the detector has found speech already, with a mean of `confidence` over 128 ms.

    To ask it again took 10 ms of CPU in three of four passes over a live window: most texts are doubtful (`temperature_fallback`).
    """

    def __init__(self, voice: Voice, confidence: float) -> None:
        self._voice = voice
        self._confidence = confidence

    def has_speech(self, samples: Samples, *, threshold: float = VoiceActivity.threshold) -> bool:
        """Whether the detector was confident enough for this threshold."""
        del samples
        return self._confidence >= confident_from(threshold)

    def first_speech(self, samples: Samples) -> int | None:
        return self._voice.first_speech(samples)

    def speech_spans(self, samples: Samples, activity: VoiceActivity = VoiceActivity()) -> Spans:  # noqa: B008 - frozen
        return self._voice.speech_spans(samples, activity)


async def speech_spans(threads: FairThreads, voice: VoiceDetector, samples: Samples, activity: VoiceActivity) -> Spans:
    """The spans of speech, as (start, end) in samples."""
    steps = voice.speech_span_steps(samples, activity)
    while (spans := await threads.run(run_step, steps)) is None:
        pass
    return spans


async def with_speech(
    threads: FairThreads, voice: VoiceDetector, samples: Samples, windows: Sequence[Window]
) -> AsyncGenerator[Window]:
    """The windows that have speech, in order."""
    for window in windows:
        if await threads.run(voice.has_speech, window.of(samples)):
            yield window


async def split_windows(
    threads: FairThreads,
    voice: VoiceDetector,
    samples: Samples,
    windows: Sequence[Window],
    frames: AudibleFrames | None = None,
) -> tuple[Window, ...]:
    """The windows, split where speech follows a long pause, because models miss such speech.

    A thread looks for it, unless there is one window, with these frames: it takes 0.1 ms, less than the way to the thread costs.
    """
    if frames is not None and not has_long_pause(frames):
        return tuple(windows)
    return tuple([part for window in windows for part in await threads.run(split_window, voice, samples, window)])


def split_window(voice: VoiceDetector, samples: Samples, window: Window) -> tuple[Window, ...]:
    """One of them. Asks the voice detector only about a window with a long pause."""
    sound = window.of(samples)
    return split_after_pauses(window, voice.speech_spans(sound)) if has_long_pause(AudibleFrames(sound)) else (window,)

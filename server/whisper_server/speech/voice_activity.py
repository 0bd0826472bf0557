"""The voice detector asked about recordings of any length, off the event loop and a step at a time.

Hours of sound in one go would keep a thread of the few that all requests share, also where nobody waits for it any
more. What the detector hears belongs to `vad`, what becomes of it to `transcribe`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from whisper_server.speech.vad import Spans, VoiceDetector, run_step
from whisper_server.speech.windows import Window, has_long_pause, split_after_pauses
from whisper_server.whisper.transcript import Samples, VoiceActivity


async def speech_spans(voice: VoiceDetector, samples: Samples, activity: VoiceActivity) -> Spans:
    """Where somebody speaks, as (start, end) in samples."""
    listening = voice.listening(samples, activity)
    while (spans := await asyncio.to_thread(run_step, listening)) is None:
        pass
    return spans


async def first_with_speech(voice: VoiceDetector, samples: Samples, windows: Sequence[Window]) -> Window | None:
    """The first window in which somebody speaks."""
    for window in windows:
        if await asyncio.to_thread(voice.has_speech, window.of(samples)):
            return window
    return None


async def split_windows(voice: VoiceDetector, samples: Samples, windows: Sequence[Window]) -> tuple[Window, ...]:
    """The windows, each in parts where speech comes in it after a long pause, which models are deaf to."""

    def split(window: Window) -> tuple[Window, ...]:
        sound = window.of(samples)
        return split_after_pauses(window, voice.speech_spans(sound)) if has_long_pause(sound) else (window,)

    return tuple([part for window in windows for part in await asyncio.to_thread(split, window)])

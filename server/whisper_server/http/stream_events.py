"""The events of a stream: deltas, or segments with their speakers once they are final, then the whole transcript.

Speakers are known when the whole recording was heard, so segments wait for that; windows are transcribed at the same time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from whisper_server.api.formats import tokens_usage
from whisper_server.http.sse import Event, delta_event, done_event, segment_event
from whisper_server.recordings.with_speakers import Turns
from whisper_server.service import Transcription
from whisper_server.whisper.speakers import segments_with_speakers


async def transcript_events(transcription: Transcription, *, logprobs: bool) -> AsyncIterator[Event]:
    """One delta per window with text, then the whole transcript."""
    windows = []
    async for window in transcription.windows():
        windows.append(window)
        if window.text:
            yield delta_event(window, logprobs=logprobs)
    transcript = transcription.assemble(windows)
    yield done_event(
        transcript.text, transcript.languages, tokens_usage(transcript), transcript.logprobs if logprobs else None
    )


async def segment_events(transcription: Transcription, turns: Turns | None) -> AsyncIterator[Event]:
    """One event per segment, then the done event; without `turns`, segments have their speakers. Raises ApiError."""
    windows = []
    n_segments = 0
    async for window in transcription.windows():
        windows.append(window)
        segments = window.segments if turns is None else segments_with_speakers(window.segments, await turns)
        for segment in segments:
            yield segment_event(replace(segment, id=n_segments))
            n_segments += 1
    if turns is not None:
        await turns  # without any segment, too: a reference may be refused
    transcript = transcription.assemble(windows)
    yield done_event(transcript.text, transcript.languages, tokens_usage(transcript), None)

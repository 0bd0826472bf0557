"""A recording whose channels are transcribed each by itself, as one transcription: segments in order of time, with their speaker.

It combines transcriptions through a Protocol; `transcribe` has those of single channels. No engine, audio files or formats.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

from whisper_server.whisper.languages import after_text
from whisper_server.whisper.transcript import Segment, Transcript, WindowTranscript


class ChannelTranscription(Protocol):
    """The transcription of one channel."""

    def windows(self) -> AsyncIterator[WindowTranscript]:
        """In order, each as soon as it is accepted."""

    def assemble(self, windows: Sequence[WindowTranscript]) -> Transcript:
        """The whole transcript, after `windows` has ended."""


@dataclass
class _Channel:
    """One channel, and what is known of it so far."""

    speaker: str
    transcription: ChannelTranscription
    windows: list[WindowTranscript] = field(default_factory=list)

    async def segments(self) -> AsyncGenerator[WindowTranscript]:
        """Each segment with words, as a window of its own."""
        async for window in self.transcription.windows():
            self.windows.append(window)
            for segment in window.segments:
                if segment.text.strip():
                    yield _alone(segment, self.speaker, window.language)


class MultichannelTranscription:
    """All channels of one recording. An async context manager, as the transcription of a single one is."""

    def __init__(self, channels: Sequence[tuple[str, AbstractAsyncContextManager[ChannelTranscription]]]) -> None:
        """`channels`: (speaker, transcription that is not entered) of each."""
        self._not_entered = channels
        self._channels: list[_Channel] = []
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            for speaker, transcription in self._not_entered:
                self._channels.append(_Channel(speaker, await opening.enter_async_context(transcription)))
            self._open = opening.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def windows(self) -> AsyncIterator[WindowTranscript]:
        """The segments of all channels by their start, each as soon as no channel can have an earlier one. Raises ApiError.

        Where the speaker changes, the text begins a new line.
        """
        speaker: str | None = None
        async with AsyncExitStack() as opened:
            sources = [await opened.enter_async_context(aclosing(channel.segments())) for channel in self._channels]
            heads = await _first_of_each(sources)
            while heads:
                _, number = min((head.segments[0].start_s, number) for number, head in heads.items())
                head = heads.pop(number)
                if speaker is None:
                    text = head.text.lstrip()
                elif head.speaker == speaker:
                    text = after_text(head.text, head.language)
                else:
                    text = f"\n{head.text.lstrip()}"
                speaker = head.speaker
                yield replace(head, text=text)
                following = await anext(sources[number], None)
                if following is not None:
                    heads[number] = following

    async def transcript(self) -> Transcript:
        """The whole recording. Raises ApiError."""
        return self.assemble([window async for window in self.windows()])

    def assemble(self, windows: Sequence[WindowTranscript]) -> Transcript:
        """Join the results of `windows`, after it has ended and before the transcription is left."""
        parts = [channel.transcription.assemble(channel.windows) for channel in self._channels]
        with_text = [part for part in parts if part.text] or parts
        segments = (segment for window in windows for segment in window.segments)
        return Transcript(
            task=parts[0].task,
            languages=tuple(dict.fromkeys(language for part in with_text for language in part.languages)),
            duration_s=max(part.duration_s for part in parts),
            text="".join(window.text for window in windows),
            segments=tuple(replace(segment, id=index) for index, segment in enumerate(segments)),
            n_prompt_tokens=parts[0].n_prompt_tokens,
            n_audio_tokens=sum(part.n_audio_tokens for part in parts),
            n_output_tokens=sum(part.n_output_tokens for part in parts),
            n_channels=len(parts),
        )


def _alone(segment: Segment, speaker: str, language: str) -> WindowTranscript:
    words = tuple(replace(word, speaker=speaker) for word in segment.words)
    named = replace(segment, speaker=speaker, words=words)
    return WindowTranscript(segment.text, (named,), language=language, speaker=speaker)


async def _first_of_each(sources: Sequence[AsyncIterator[WindowTranscript]]) -> dict[int, WindowTranscript]:
    """The first segment of each channel that has one. All channels start at once, so that they share the engine."""

    async def first(source: AsyncIterator[WindowTranscript]) -> WindowTranscript | None:
        return await anext(source, None)

    tasks = [asyncio.create_task(first(source)) for source in sources]
    try:
        found = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {number: head for number, head in enumerate(found) if head is not None}

"""Channels as one transcription: segments by time, a line per turn, and an error of one ends all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Self

import pytest

from whisper_server.errors import InternalError
from whisper_server.speech.multichannel import MultichannelTranscription
from whisper_server.whisper.transcript import Segment, Task, Transcript, WindowTranscript, Word


def said(start_s: float, text: str) -> Segment:
    word = Word(text.strip(), start_s, start_s + 1, 0.9)
    return Segment(0, 0, start_s, start_s + 1, text, (), 0.0, -0.2, 1.1, 0.01, (word,))


class ChannelDouble:
    """Gives `windows`, each after `pause_s`; fails after them if `error` is set."""

    def __init__(
        self, *windows: Sequence[Segment], pause_s: float = 0.0, error: Exception | None = None, language: str = "en"
    ) -> None:
        self._windows, self._pause_s, self._error, self._language = windows, pause_s, error, language
        self.is_open = False

    async def __aenter__(self) -> Self:
        self.is_open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_open = False

    async def windows(self) -> AsyncIterator[WindowTranscript]:
        for segments in self._windows:
            await asyncio.sleep(self._pause_s)
            text = "".join(segment.text for segment in segments)
            yield WindowTranscript(text, tuple(segments), language=self._language, n_output_tokens=5)
        if self._error is not None:
            raise self._error

    def assemble(self, windows: Sequence[WindowTranscript]) -> Transcript:
        return Transcript(
            Task.TRANSCRIBE,
            (self._language,),
            60.0,
            "".join(window.text for window in windows),
            n_prompt_tokens=2,
            n_audio_tokens=3000,
            n_output_tokens=sum(window.n_output_tokens for window in windows),
        )


async def test_turns_come_in_order_of_time_with_their_speaker() -> None:
    agent = ChannelDouble([said(0, " Hello."), said(2, " Who is it?")], [said(40, " Goodbye.")], pause_s=0.02)
    caller = ChannelDouble([], [said(5, " Ann."), said(41, " Bye."), said(42, " Bye.")], language="de")
    async with MultichannelTranscription([("agent", agent), ("caller", caller)]) as transcription:
        windows = [window async for window in transcription.windows()]
        transcript = transcription.assemble(windows)
    assert transcript.text == "Hello. Who is it?\nAnn.\nGoodbye.\nBye. Bye."
    assert transcript.text == "".join(window.text for window in windows)
    assert [(one.id, one.start_s, one.speaker) for one in transcript.segments] == [
        (0, 0, "agent"), (1, 2, "agent"), (2, 5, "caller"), (3, 40, "agent"), (4, 41, "caller"), (5, 42, "caller"),
    ]  # fmt: skip
    assert [word.speaker for word in transcript.words] == [one.speaker for one in transcript.segments]
    assert (transcript.languages, transcript.duration_s, transcript.n_channels) == (("en", "de"), 60.0, 2)
    assert (transcript.n_prompt_tokens, transcript.n_audio_tokens, transcript.n_output_tokens) == (2, 6000, 20)
    assert not agent.is_open
    assert not caller.is_open


async def test_turn_waits_for_no_channel_that_has_ended() -> None:
    channels = [("a", ChannelDouble()), ("b", ChannelDouble([said(1, " One.")], [said(2, " Two.")]))]
    async with MultichannelTranscription(channels) as transcription:
        assert (await transcription.transcript()).text == "One. Two."


async def test_no_words_make_an_empty_transcript() -> None:
    async with MultichannelTranscription([("a", ChannelDouble()), ("b", ChannelDouble([]))]) as transcription:
        transcript = await transcription.transcript()
    assert (transcript.text, transcript.segments, transcript.languages) == ("", (), ("en",))


async def test_error_of_one_channel_ends_the_other() -> None:
    waits = ChannelDouble([said(0, " Hello.")], pause_s=60)
    fails = ChannelDouble(error=InternalError("broken"))
    with pytest.raises(InternalError):
        async with MultichannelTranscription([("a", waits), ("b", fails)]) as transcription:
            await transcription.transcript()
    assert not waits.is_open
    assert not fails.is_open

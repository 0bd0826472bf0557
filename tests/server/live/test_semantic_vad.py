"""Turns with `semantic_vad`: the end-of-turn detector is asked once in a pause, and silence ends turns that it does not end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest

from live_kit.doubles import LiveSpeechDouble
from whisper_server.api.realtime_server_events import Committed, ServerEvent, SpeechEnded
from whisper_server.audio.live_samples import RawFormat
from whisper_server.live.listening import Listening
from whisper_server.live.sample_buffer import SampleBuffer
from whisper_server.live.session_options import EAGERNESS, TurnRules
from whisper_server.live.turn import Turn
from whisper_server.live.turn_detection import SpeechSpans
from whisper_server.live.turn_ends import PAUSE_SAMPLES, TurnEnds
from whisper_server.process.event_loop import cancel
from whisper_server.speech.live_windows import Turns
from whisper_server.speech.turn_end import MAX_SAMPLES
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Options

RULES = TurnRules(turn_silence_ms=4000, turn_end_from=0.5)
FRAME_S = 0.032


@dataclass
class Room:
    """A session's sound, without a session."""

    speech: LiveSpeechDouble
    listening: Listening
    events: list[ServerEvent] = field(default_factory=list)

    async def sound(self, duration_s: float, level: float) -> None:
        """A square wave of this level, or silence."""
        phases = np.arange(int(duration_s * 24_000)) // 120 % 2
        await self.listening.append(((phases * 2 - 1) * level * 32767).astype("<i2").tobytes())
        await self.listening.catch_up()

    def ends_s(self) -> list[float]:
        """When turns ended."""
        return [event.audio_end_ms / 1000 for event in self.events if isinstance(event, SpeechEnded)]


@asynccontextmanager
async def room(*turn_ends: float, rules: TurnRules = RULES) -> AsyncIterator[Room]:
    events: list[ServerEvent] = []
    speech = LiveSpeechDouble(turn_ends=list(turn_ends))
    listening = Listening(
        speech, rules, Options(), turns_of=lambda: Turns("alice", 1), emit=events.append, clock=lambda: 0.0
    )
    running = asyncio.create_task(listening.hearing.run())
    yield Room(speech, listening, events)
    await cancel(running)


async def test_complete_sentence_ends_its_turn_at_a_short_pause() -> None:
    async with room(0.5) as one:
        await one.sound(2, 0.5)
        await one.sound(1, 0)
        (end_s,) = one.ends_s()
        assert 2.25 <= end_s <= 2.25 + 2 * FRAME_S
        (turn,) = one.listening.turns
        (piece,) = turn.pieces
        assert piece.end == turn.end
        assert abs(piece.speech_end / SAMPLE_RATE_HZ - 2) <= 2 * FRAME_S
        assert [abs(n / SAMPLE_RATE_HZ - 2.25) < 0.1 for n in one.speech.asked_of_turn_ends] == [True]


async def test_sentence_that_breaks_off_goes_on_after_the_pause() -> None:
    async with room(0.49, 0.9) as one:
        await one.sound(2, 0.5)
        await one.sound(2, 0)
        assert not one.ends_s()
        assert len(one.speech.asked_of_turn_ends) == 1
        await one.sound(2, 0.5)
        await one.sound(1, 0)
        (end_s,) = one.ends_s()
        assert 6.25 <= end_s <= 6.25 + 2 * FRAME_S
        assert len(one.listening.turns) == 1
        assert len(one.speech.asked_of_turn_ends) == 2


async def test_silence_ends_what_never_sounds_complete() -> None:
    async with room() as one:
        await one.sound(2, 0.5)
        await one.sound(5, 0)
        (end_s,) = one.ends_s()
        assert 6 <= end_s <= 6 + 2 * FRAME_S


async def test_detector_hears_the_turn_from_before_the_pause_too() -> None:
    async with room() as one:
        for _ in range(2):
            await one.sound(2, 0.5)
            await one.sound(1.5, 0)
            for turn in one.listening.turns:
                turn.pieces.clear()  # as if they were transcribed
        assert [round(n / SAMPLE_RATE_HZ, 1) for n in one.speech.asked_of_turn_ends] == [2.3, 5.8]


@pytest.mark.parametrize(("soft", "is_asked"), [(0.42, False), (0.1, True)])
async def test_soft_speech_is_no_pause(soft: float, is_asked: bool) -> None:
    """As long as the voice detector's hysteresis says speech."""
    spans = SpeechSpans(threshold=0.5, prefix_padding_ms=0, silence_duration_ms=700, frame_samples=512)
    speech, buffer = LiveSpeechDouble(turn_ends=[1.0]), SampleBuffer()
    buffer.append(np.zeros(100 * 512, np.float32), 0.0)
    ends = TurnEnds(speech, buffer, lambda: Turns("alice", 1))
    turn = Turn("item_1", None, 0, Options(), has_speech=True)
    for probability in (*[0.9] * 60, *[soft] * 10):
        list(spans.add((probability,)))
        await ends.is_complete(turn, spans, RULES)
    assert bool(speech.asked_of_turn_ends) == is_asked


def test_end_of_a_long_turn_is_kept() -> None:
    spans = SpeechSpans(threshold=0.5, prefix_padding_ms=0, silence_duration_ms=700, frame_samples=512, start=10**6)
    ends = TurnEnds(LiveSpeechDouble(), SampleBuffer(), lambda: Turns("alice", 1))
    assert ends.needs_from(Turn("item_1", None, 0, Options()), spans, RULES) == 10**6 - MAX_SAMPLES
    assert ends.needs_from(Turn("item_1", None, 0, Options()), spans, TurnRules()) == 10**6
    assert ends.needs_from(None, spans, RULES) == 10**6


async def test_turn_that_is_cleared_while_the_detector_hears_it_stays_cleared() -> None:
    async with room(1.0) as one:
        await one.sound(2, 0.5)
        heard = asyncio.create_task(one.sound(0.5, 0))
        while not one.speech.asked_of_turn_ends:
            await asyncio.sleep(0)
        one.listening.clear()
        await heard
        assert not one.ends_s()
        assert not [event for event in one.events if isinstance(event, Committed)]


@pytest.mark.parametrize("rules", [TurnRules(turn_silence_ms=4000), TurnRules()], ids=["server_vad", "null"])
async def test_detector_is_not_asked_without_semantic_vad(rules: TurnRules) -> None:
    async with room(1.0, rules=rules) as one:
        await one.sound(2, 0.5)
        await one.sound(1, 0)
        assert not one.speech.asked_of_turn_ends


async def test_other_format_of_the_same_turn() -> None:
    async with room(1.0) as one:
        await one.sound(2, 0.5)
        one.listening.configure(RULES, RawFormat.PCMU, Options())
        await one.listening.append(b"\xff" * 8000)
        await one.listening.catch_up()
        assert len(one.ends_s()) == 1


def test_eagerness_is_ordered() -> None:
    order = [EAGERNESS[one] for one in ("high", "auto", "low")]
    assert order == sorted(order, key=lambda one: (one.turn_end_from, one.max_silence_ms))
    assert EAGERNESS["auto"] == EAGERNESS["medium"]
    assert min(one.max_silence_ms for one in EAGERNESS.values()) / 1000 > PAUSE_SAMPLES / SAMPLE_RATE_HZ

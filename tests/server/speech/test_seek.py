"""What a window's text leaves out is decoded again: from where, how often, and with no word twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_kit.demo import demo_tokenizer
from model_kit.engine_double import EngineDouble, VoiceDetectorDouble, said
from model_kit.pipeline import RATE_HZ, assert_idle, pipeline
from whisper_server.speech.repetition import n_repeated_words
from whisper_server.speech.seek import Seek, TextEnd, next_seek, text_end
from whisper_server.speech.transcribe import Transcriber
from whisper_server.speech.vad import Spans
from whisper_server.speech.window_decoding import DecodingPolicy
from whisper_server.speech.window_transcription import MAX_RESTS
from whisper_server.whisper.engine_protocol import Decoded, DecodeRequest
from whisper_server.whisper.transcript import Options, Samples, Task, VoiceActivity, WindowTranscript

FIRST_TIMESTAMP = 1000
OPENED = "<0.00> Press one.<4.00><4.00>"
CLOSED = "<0.00> Press one.<4.00>"


def timestamp_s(token: int) -> float | None:
    return (token - FIRST_TIMESTAMP) / 10 if token >= FIRST_TIMESTAMP else None


def at(time_s: float) -> int:
    return FIRST_TIMESTAMP + round(time_s * 10)


@pytest.mark.parametrize(
    ("tokens", "duration_s", "end"),
    [
        ((at(0), 1, at(4), at(4)), 6.0, TextEnd(4.0, opens_segment=True)),
        ((at(0), 1, at(4), at(5)), 6.0, TextEnd(4.0, opens_segment=True)),
        ((at(0), 1, at(4)), 6.0, TextEnd(4.0, opens_segment=False)),
        ((at(0), 1, at(2), at(3), 2, at(4), at(5)), 6.0, TextEnd(4.0, opens_segment=True, start_s=3.0)),
        ((at(0), 1, at(2), 2, at(4)), 6.0, TextEnd(4.0, opens_segment=False, start_s=2.0)),
        ((1, at(4)), 6.0, TextEnd(4.0, opens_segment=False)),
        ((at(0), 1, at(4), at(4)), 4.4, None),
        ((at(0), 1, at(4)), 4.9, None),
        ((at(0), 1, at(4), at(4), 2), 30.0, None),
        ((1, 2), 30.0, None),
        ((), 30.0, None),
    ],
)
def test_text_ends_at_last_timestamp(tokens: Sequence[int], duration_s: float, end: TextEnd | None) -> None:
    assert text_end(tokens, timestamp_s, duration_s) == end


def samples_of(*spans_s: tuple[float, float]) -> Spans:
    return tuple((round(start_s * RATE_HZ), round(end_s * RATE_HZ)) for start_s, end_s in spans_s)


@pytest.mark.parametrize(
    ("spans_s", "seek_s", "is_in_speech"),
    [
        pytest.param([(23.0, 24.7), (27.0, 29.0)], 27.0, False, id="next speech after a pause"),
        pytest.param([(24.02, 24.7), (25.0, 27.64)], 25.0, True, id="timestamp is late"),
        pytest.param([(24.02, 29.8)], 25.52, True, id="speech runs on"),
    ],
)
def test_decoding_goes_on_at_the_next_speech(
    spans_s: Sequence[tuple[float, float]], seek_s: float, is_in_speech: bool
) -> None:
    seek = next_seek(TextEnd(25.52, opens_segment=True), samples_of(*spans_s))
    assert seek == Seek(round(seek_s * RATE_HZ), is_in_speech)


@pytest.mark.parametrize(
    "spans_s", [[], [(24.0, 25.5)], [(24.0, 25.9)], pytest.param([(24.0, 26.15)], id="the rest of the last word")]
)
def test_nothing_is_decoded_again_without_speech(spans_s: Sequence[tuple[float, float]]) -> None:
    assert next_seek(TextEnd(25.52, opens_segment=True), samples_of(*spans_s)) is None


@pytest.mark.parametrize(
    ("spans_s", "seek_s"),
    [
        pytest.param([(15.1, 17.4)], None, id="the words are those of the next speech"),
        pytest.param([(15.1, 17.4), (20.0, 22.0)], 20.0, id="more speech follows it"),
        pytest.param([(8.0, 9.5), (15.3, 17.4)], 15.3, id="the segment has its own speech"),
    ],
)
def test_segment_without_speech_at_its_time_is_not_decoded_twice(
    spans_s: Sequence[tuple[float, float]], seek_s: float | None
) -> None:
    seek = next_seek(TextEnd(15.0, opens_segment=False, start_s=7.0), samples_of(*spans_s))
    assert seek == (None if seek_s is None else Seek(round(seek_s * RATE_HZ), is_in_speech=False))


@given(st.floats(0, 29), st.lists(st.tuples(st.floats(0, 15), st.floats(0.1, 15)), max_size=4))
def test_seek_moves_on_and_stays_in_the_window(end_s: float, pairs: list[tuple[float, float]]) -> None:
    spans = samples_of(*((start_s, start_s + length_s) for start_s, length_s in sorted(pairs)))
    seek = next_seek(TextEnd(end_s, opens_segment=True), spans)
    assert seek is None or 0 < seek.sample < max(stop for _, stop in spans)


@pytest.mark.parametrize(
    ("before", "after", "n_items"),
    [
        ("Press one", [" One", ".", " Press", " two"], 2),
        ("Please hold the line.", [" the", " line", ",", " while"], 3),
        ("Press one", [" Press", " two"], 0),
        ("press one", [" Press", " one", ",", " please"], 3),
        ("one", [" One", " one"], 1),
        ("", [" One"], 0),
        ("...", ["...", " One"], 0),
        ("何か", ["か", "何"], 0),
    ],
)
def test_words_at_a_seam_count_once(before: str, after: Sequence[str], n_items: int) -> None:
    assert n_repeated_words(before.split(), after) == n_items


class Voice(VoiceDetectorDouble):
    """Speech everywhere, with a pause from 3.8 to 4.2 s of every sound of 10 s."""

    def speech_spans(
        self,
        samples: Samples,
        activity: VoiceActivity = VoiceActivity(),  # noqa: B008 - frozen
    ) -> Spans:
        self.requests.append(activity)
        first = 10 * RATE_HZ - len(samples)
        pause = (round(3.8 * RATE_HZ) - first, round(4.2 * RATE_HZ) - first)
        return ((0, pause[0]), (pause[1], len(samples))) if pause[0] > 0 else ((0, len(samples)),)


@dataclass
class Run:
    windows: list[WindowTranscript]
    engine: EngineDouble
    voice: Voice

    @property
    def text(self) -> str:
        return "".join(window.text for window in self.windows)

    @property
    def decoded_s(self) -> list[float]:
        return [len(samples) / RATE_HZ for samples in self.engine.decoded_windows]


async def run(
    first: str, *rests: str, language: str = "en", last_token_end_s: float | None = None, **changes: object
) -> Run:
    """One window of 10 s; `rests` are the answers after the first, the last one repeated."""
    remaining = [first, *rests]

    def answer(_samples: Samples, _request: DecodeRequest) -> Decoded:
        return said(remaining.pop(0) if len(remaining) > 1 else remaining[0])

    engine, voice = EngineDouble(answer, n_slots=1, last_token_end_s=last_token_end_s), Voice()
    transcriber = _transcriber(engine, voice)
    requested = Options(**{"language": language, "timestamps": True, **changes})  # type: ignore[arg-type]
    async with transcriber.transcribe(np.ones(10 * RATE_HZ, np.float32), requested) as job:
        windows = [window async for window in job.windows()]
    assert_idle(transcriber, engine)
    assert engine.max_open == 1
    return Run(windows, engine, voice)


def _transcriber(engine: EngineDouble, voice: Voice) -> Transcriber:
    transcriber = pipeline(engine, voice)
    transcriber.max_window_s = 30.0
    transcriber.policy = DecodingPolicy(1, (0.0,), 0, 448)
    return transcriber


@pytest.mark.parametrize("first", [OPENED, CLOSED])
async def test_rest_of_window_is_decoded_and_joined(first: str) -> None:
    outcome = await run(first, "<0.00> Press two.<5.60>", words=True, logprobs=True)
    assert outcome.decoded_s == [10.0, pytest.approx(5.8)]
    (window,) = outcome.windows
    assert window.text == "Press one. Press two."
    assert [(one.id, one.start_s, one.end_s) for one in window.segments] == [
        (0, 0.0, 4.0), (1, pytest.approx(4.2), pytest.approx(9.8)),
    ]  # fmt: skip
    assert [one.seek for one in window.segments] == [0, 420]
    assert [word.word for one in window.segments for word in one.words] == ["Press", "one.", "Press", "two."]
    assert window.segments[1].words[0].start_s == pytest.approx(4.2)
    assert "".join(one.token for one in window.logprobs) == " Press one. Press two."
    assert window.n_output_tokens == len(window.logprobs)


LONG = "<0.00> Press one now, or hold the line. All of our lines are busy.<9.60>"


@pytest.mark.parametrize(
    ("again", "text"),
    [
        pytest.param(LONG, "Press one now, or hold the line. All of our lines are busy.", id="more is heard"),
        pytest.param("<0.00> Press.<9.60>", "Press one.", id="no more is heard"),
        pytest.param("", "Press one.", id="nothing is heard"),
    ],
)
async def test_text_too_short_for_its_speech_is_decoded_with_timestamps(again: str, text: str) -> None:
    outcome = await run(" Press one.", again, "", timestamps=False)
    assert outcome.text == text
    timed = demo_tokenizer().prompt_tokens("en", Task.TRANSCRIBE, previous=(), timestamps=True)[0]
    assert [request.prompt_tokens == timed for request in outcome.engine.requests[:2]] == [False, True]


@pytest.mark.parametrize(
    "full_stop_end_s", [None, pytest.param(9.9, id="stretched over the rest, as in 11 of 36 windows")]
)
async def test_sentence_with_the_time_of_the_whole_window_is_not_all_of_it(full_stop_end_s: float | None) -> None:
    """Whisper base heard one of seven sentences (Italian, 23 s), and gave it the time of all: 49 words were lost."""
    rest = "<0.00> Press two to hear all of it.<5.60>"
    outcome = await run("<0.00> Press one.<9.60>", rest, last_token_end_s=full_stop_end_s)
    assert outcome.text == "Press one. Press two to hear all of it."
    assert outcome.decoded_s == [10.0, pytest.approx(5.8)]
    assert [segment.end_s for segment in outcome.windows[0].segments] == [pytest.approx(4.2), pytest.approx(9.8)]


@pytest.mark.parametrize("seconds", [0.0, 4.0])
async def test_short_text_of_little_speech_is_decoded_once(seconds: float) -> None:
    engine = EngineDouble(lambda _samples, _request: said(" Press one."))
    voice = VoiceDetectorDouble(spans=samples_of((0.0, seconds)) if seconds else ())
    transcriber = pipeline(engine, voice)
    transcriber.max_window_s = 30.0
    async with transcriber.transcribe(np.ones(10 * RATE_HZ, np.float32), Options(language="en")) as job:
        assert (await job.transcript()).text == "Press one."
    assert len(engine.decoded_windows) == 1
    assert len(voice.requests) == 1


@pytest.mark.parametrize(
    "whole", [LONG, "<0.00> Press one to hear it.<4.00><4.00> Press two to change all of it now.", LONG[6:-6]]
)
async def test_whole_text_costs_no_decoding_and_no_detector(whole: str) -> None:
    outcome = await run(whole)
    assert outcome.decoded_s == [10.0]
    assert outcome.voice.requests == []


async def test_word_across_the_seam_is_not_doubled() -> None:
    outcome = await run(
        "<0.00> Please hold the line and press one<6.00><6.00>", "<0.00> One, please.<4.00>", words=True, logprobs=True
    )
    assert outcome.text == "Please hold the line and press one please."
    assert [word.word for one in outcome.windows[0].segments for word in one.words][-3:] == ["press", "one", "please."]
    assert "".join(one.token for one in outcome.windows[0].logprobs) == f" {outcome.text}"


async def test_times_do_not_overlap_where_the_timestamp_is_late() -> None:
    outcome = await run("<0.00> Press one.<4.60><4.60>", "<0.00> Press two.<5.60>")
    first, second = outcome.windows[0].segments
    assert first.end_s == pytest.approx(4.2)
    assert first.end_s <= second.start_s


async def test_no_segment_reaches_into_the_rest() -> None:
    outcome = await run("<0.00> Hello.<6.00><6.00> World.<9.60>", "<0.00> Press two to hear all of it.<5.60>")
    times = [(segment.start_s, segment.end_s) for segment in outcome.windows[0].segments]
    assert all(left[1] <= right[0] for left, right in pairwise(times)), times
    assert all(start_s <= end_s for start_s, end_s in times)


async def test_rest_without_words_changes_nothing() -> None:
    outcome = await run(OPENED, "")
    assert outcome.text == "Press one."
    assert len(outcome.windows[0].segments) == 1


async def test_window_that_never_ends_is_decoded_a_few_times() -> None:
    outcome = await run("<0.00> Word<1.20><1.20>")
    assert len(outcome.decoded_s) == 1 + MAX_RESTS
    assert len(outcome.windows) == 1


@pytest.mark.parametrize(("language", "text"), [("en", "a b"), ("ja", "ab")])
async def test_rests_are_joined_by_the_rules_of_the_language(language: str, text: str) -> None:
    assert (await run("<0.00>a<4.00><4.00>", "<0.00>b<5.60>", language=language)).text == text


async def test_cancelled_rest_frees_window_and_slot() -> None:
    started, never = asyncio.Event(), asyncio.Event()

    def hold(samples: Samples) -> asyncio.Event | None:
        if len(samples) == 10 * RATE_HZ:
            return None
        started.set()
        return never

    engine = EngineDouble(lambda _samples, _request: said(OPENED), n_slots=1, hold=hold)
    transcriber = _transcriber(engine, Voice())
    async with (
        transcriber.transcribe(np.ones(10 * RATE_HZ, np.float32), Options(language="en", timestamps=True)) as job,
        aclosing(job.windows()) as windows,  # type: ignore[type-var]
    ):
        task = asyncio.ensure_future(anext(windows))
        await started.wait()
        assert (engine.n_open, transcriber.slots.n_held) == (1, 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert_idle(transcriber, engine)

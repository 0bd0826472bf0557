"""Every format of one transcript: OpenAI's own types read the JSON, real parsers' rules hold for subtitles."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.audio import Transcription, TranscriptionVerbose, TranslationVerbose
from openai.types.audio.transcription_segment import TranscriptionSegment
from openai.types.audio.transcription_word import TranscriptionWord
from pydantic import BaseModel

from whisper_server.api.formats import (
    format_transcript,
    to_srt,
    to_text,
    to_verbose_json,
    to_vtt,
    tokens_usage,
    usage_of,
)
from whisper_server.api.options import Granularity, ResponseFormat
from whisper_server.whisper.transcript import Segment, Task, TokenLogprob, Transcript, Word

DURATION = {"type": "duration", "seconds": 5}


def segment(index: int, start_s: float, end_s: float, text: str, **more: Any) -> Segment:
    values: dict[str, Any] = {
        "tokens": (50364, 2425, 50414), "temperature": 0.2, "avg_logprob": -0.25,
        "compression_ratio": 1.1, "no_speech_prob": 0.01,
    }  # fmt: skip
    return Segment(index, 0, start_s, end_s, text, **(values | more))


WORDS = (Word(" Guten", 0.0, 0.42, 0.9), Word(" Tag,", 0.42, 0.8, 0.9), Word(" ", 0.8, 0.8, 0.1))
TRANSCRIPT = Transcript(
    task=Task.TRANSCRIBE,
    languages=("de",),
    duration_s=4.2,
    text="Guten Tag, schöne Straße.",
    segments=(
        segment(0, 0.0, 1.0004, " Guten Tag,", words=WORDS),
        segment(1, 1.25, 4.1996, " schöne Straße.", words=(Word(" schöne", 1.25, 2, 0.8), Word(" Straße.", 2, 4, 0.7))),
    ),
    logprobs=(TokenLogprob(" Guten", tuple(b" Guten"), -0.125), TokenLogprob(" Tag", tuple(b" Tag"), -0.5)),
    n_prompt_tokens=7,
    n_audio_tokens=210,
    n_output_tokens=9,
)
SILENCE = Transcript(Task.TRANSCRIBE, ("en",), 3.0, "")

Model = TypeVar("Model", bound=BaseModel)


def read(model: type[Model], body: str) -> Model:
    """As strictly as pydantic can: nothing is converted, and no field is there that OpenAI does not have."""
    answer = model.model_validate_json(body, strict=True)
    assert unknown_fields(answer) <= {"task"}  # in OpenAI's answers and documents, not in its types
    return answer


def unknown_fields(model: BaseModel) -> set[str]:
    children = [value if isinstance(value, list) else [value] for value in dict(model).values()]
    nested = [unknown_fields(each) for child in children for each in child if isinstance(each, BaseModel)]
    return set(model.model_extra or {}).union(*nested)


def verbose(transcript: Transcript, *granularities: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(to_verbose_json(transcript, granularities, DURATION))
    return parsed


def test_json_is_openais_type() -> None:
    body, content_type = format_transcript(TRANSCRIPT, ResponseFormat.JSON, (), tokens_usage(TRANSCRIPT))
    assert content_type == "application/json; charset=utf-8"
    answer = read(Transcription, body)
    assert answer.text == "Guten Tag, schöne Straße."
    assert answer.logprobs is not None
    assert [(one.token, one.bytes, one.logprob) for one in answer.logprobs] == [
        (" Guten", [32, 71, 117, 116, 101, 110], -0.125),
        (" Tag", [32, 84, 97, 103], -0.5),
    ]
    assert answer.languages is not None
    assert [one.code for one in answer.languages] == ["de"]
    assert answer.usage is not None
    assert answer.usage.model_dump() == {
        "type": "tokens", "input_tokens": 217, "output_tokens": 9, "total_tokens": 226,
        "input_token_details": {"text_tokens": 7, "audio_tokens": 210},
    }  # fmt: skip


def test_json_without_logprobs_has_no_such_field() -> None:
    transcript = replace(TRANSCRIPT, logprobs=())
    body, _ = format_transcript(
        transcript, ResponseFormat.JSON, (), usage_of(transcript, "whisper-1", ResponseFormat.JSON)
    )
    assert "logprobs" not in json.loads(body)
    assert json.loads(body)["usage"] == {"type": "duration", "seconds": 5}


def test_json_is_not_escaped_to_ascii() -> None:
    for response_format in (ResponseFormat.JSON, ResponseFormat.VERBOSE_JSON):
        assert "schöne Straße" in format_transcript(TRANSCRIPT, response_format, (), DURATION)[0]


def test_text_ends_its_line() -> None:
    body, content_type = format_transcript(TRANSCRIPT, ResponseFormat.TEXT, (), DURATION)
    assert (body, content_type) == ("Guten Tag, schöne Straße.\n", "text/plain; charset=utf-8")
    assert to_text(SILENCE) == "\n"


def test_verbose_json_is_openais_type() -> None:
    body, content_type = format_transcript(
        TRANSCRIPT, ResponseFormat.VERBOSE_JSON, (Granularity.WORD, Granularity.SEGMENT), DURATION
    )
    assert content_type == "application/json; charset=utf-8"
    answer = read(TranscriptionVerbose, body)
    assert (answer.language, answer.duration, answer.text) == ("german", 4.2, TRANSCRIPT.text)
    assert answer.usage is not None
    assert (answer.usage.type, answer.usage.seconds) == ("duration", 5)
    assert answer.segments is not None
    assert answer.segments[1] == TranscriptionSegment(
        id=1, seek=0, start=1.25, end=4.2, text=" schöne Straße.", tokens=[50364, 2425, 50414],
        temperature=0.2, avg_logprob=-0.25, compression_ratio=1.1, no_speech_prob=0.01,
    )  # fmt: skip
    assert answer.words is not None
    assert answer.words[:2] == [
        TranscriptionWord(word="Guten", start=0, end=0.42),
        TranscriptionWord(word="Tag,", start=0.42, end=0.8),
    ]
    assert [word.word for word in answer.words] == ["Guten", "Tag,", "schöne", "Straße."]
    assert json.loads(body)["task"] == "transcribe"


def test_a_translation_is_english_and_openais_type() -> None:
    translation = replace(TRANSCRIPT, task=Task.TRANSLATE, text="Good day.")
    body = to_verbose_json(translation, (), DURATION)
    answer = TranslationVerbose.model_validate_json(body, strict=True)
    assert answer.language == "english"
    assert json.loads(body)["task"] == "translate"


@pytest.mark.parametrize(
    ("granularities", "present"),
    [
        ((), {"segments"}),
        (("segment",), {"segments"}),
        (("word",), {"words"}),
        (("word", "segment"), {"words", "segments"}),
        ((Granularity.SEGMENT,), {"segments"}),
        ((Granularity.WORD,), {"words"}),
    ],
)
def test_granularities_choose(granularities: tuple[str, ...], present: set[str]) -> None:
    assert verbose(TRANSCRIPT, *granularities).keys() & {"words", "segments"} == present


def test_silence_has_empty_lists_and_no_cues() -> None:
    answer = verbose(SILENCE, "word", "segment")
    assert (answer["text"], answer["segments"], answer["words"]) == ("", [], [])
    assert to_srt(SILENCE) == ""
    assert to_vtt(SILENCE) == "WEBVTT\n\n"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["temperature", "avg_logprob", "compression_ratio", "no_speech_prob", "end_s"])
def test_no_number_is_other_than_finite(number: float, field: str) -> None:
    change: dict[str, Any] = {field: number}
    broken = replace(TRANSCRIPT.segments[0], **change)
    transcript = replace(TRANSCRIPT, segments=(broken,), logprobs=(TokenLogprob("x", (120,), number),))
    for response_format in ResponseFormat:
        body, _ = format_transcript(transcript, response_format, ("segment", "word"), DURATION)
        assert not re.search(r"nan|infinity", body, re.IGNORECASE)


def test_srt() -> None:
    body, content_type = format_transcript(TRANSCRIPT, ResponseFormat.SRT, (), DURATION)
    assert content_type == "application/x-subrip; charset=utf-8"
    assert body == (
        "1\n00:00:00,000 --> 00:00:01,000\nGuten Tag,\n\n2\n00:00:01,250 --> 00:00:04,200\nschöne Straße.\n\n"
    )


def test_vtt() -> None:
    body, content_type = format_transcript(TRANSCRIPT, ResponseFormat.VTT, (), DURATION)
    assert content_type == "text/vtt; charset=utf-8"
    assert body == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nGuten Tag,\n\n00:00:01.250 --> 00:00:04.200\nschöne Straße.\n\n"
    )


@pytest.mark.parametrize(
    ("at_s", "written"),
    [
        (0.0004, "00:00:00,000"),
        (0.9996, "00:00:01,000"),
        (59.9995, "00:01:00,000"),
        (59.9994, "00:00:59,999"),
        (3599.9999, "01:00:00,000"),
        (3661.5, "01:01:01,500"),
        (14_399.999, "03:59:59,999"),
        (360_000.25, "100:00:00,250"),
        (-0.01, "00:00:00,000"),
    ],
)
def test_clock(at_s: float, written: str) -> None:
    cue = to_srt(replace(TRANSCRIPT, segments=(segment(0, at_s, at_s + 1, "x"),)))
    assert cue.splitlines()[1].split(" --> ")[0] == written


def test_a_cue_lasts_at_least_a_millisecond() -> None:
    cue = to_vtt(replace(TRANSCRIPT, segments=(segment(0, 2.0, 2.0, "x"),)))
    assert "00:00:02.000 --> 00:00:02.001\n" in cue


@pytest.mark.parametrize(
    ("text", "srt", "vtt"),
    [
        (" a --> b", "a -> b", "a --&gt; b"),
        ("R&D <b>", "R&D <b>", "R&amp;D &lt;b&gt;"),
        ("one\n\n\n two \r\n", "one\ntwo", "one\ntwo"),
        ("one\n1\n00:00:00,000 --> 00:00:01,000\nforged", *["one\n1\n00:00:00,000 {} 00:00:01,000\nforged"] * 2),
        ('said "yes"', 'said "yes"', 'said "yes"'),
    ],
)
def test_text_of_cues(text: str, srt: str, vtt: str) -> None:
    transcript = replace(TRANSCRIPT, segments=(segment(0, 0, 1, text),))
    assert to_srt(transcript) == f"1\n00:00:00,000 --> 00:00:01,000\n{srt.format('->')}\n\n"
    assert to_vtt(transcript) == f"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n{vtt.format('--&gt;')}\n\n"


def test_empty_segments_make_no_cues_and_no_gaps() -> None:
    texts = ("a", " ", "", "\n", "b", "\u2028", "c")
    segments = tuple(segment(index, index, index + 1, text) for index, text in enumerate(texts))
    blocks = to_srt(replace(TRANSCRIPT, segments=segments)).split("\n\n")[:-1]
    assert [block.split("\n")[0] for block in blocks] == ["1", "2", "3"]
    assert [block.split("\n")[2] for block in blocks] == ["a", "b", "c"]


def test_cues_stay_in_order() -> None:
    segments = tuple(segment(index, index * 0.0004, index * 0.0004, "x") for index in range(20))
    starts = re.findall(r"(\S+) -->", to_vtt(replace(TRANSCRIPT, segments=segments)))
    assert all(left <= right for left, right in pairwise(starts))


LONG = "One two three four five, six seven eight nine ten. Eleven twelve thirteen fourteen, fifteen sixteen seventeen."


def spoken(text: str, start_s: float, word_s: float, separator: str = " ") -> Segment:
    """A segment whose words take `word_s` each."""
    texts = text.split() if separator else list(text)
    words = tuple(
        Word(word, start_s + index * word_s, start_s + (index + 1) * word_s, 0.9) for index, word in enumerate(texts)
    )
    return segment(0, start_s, start_s + len(texts) * word_s, separator + text, words=words)


def cues_of(*segments: Segment) -> list[tuple[str, str]]:
    blocks = to_srt(replace(TRANSCRIPT, segments=segments)).split("\n\n")[:-1]
    return [(block.split("\n")[1], block.split("\n")[2]) for block in blocks]


def test_long_segment_is_cut_at_its_sentence() -> None:
    assert cues_of(spoken(LONG, 2.0, 0.3)) == [
        ("00:00:02,000 --> 00:00:05,000", "One two three four five, six seven eight nine ten."),
        ("00:00:05,000 --> 00:00:07,100", "Eleven twelve thirteen fourteen, fifteen sixteen seventeen."),
    ]


@pytest.mark.parametrize(
    ("one", "texts"),
    [
        (spoken("Short but slow, for music plays.", 0.0, 1.5), ["Short but slow,", "for music plays."]),
        (spoken("长" * 100, 0.0, 0.1, ""), ["长" * 50, "长" * 50]),
        (spoken("Short.", 0.0, 9.0), ["Short."]),
        (replace(spoken(LONG, 0.0, 0.3), words=()), [LONG]),
        (replace(spoken(LONG, 0.0, 0.3), words=(Word("absent", 0.0, 1.0, 0.9),) * 2), [LONG]),
        (spoken("Two lines of text that are shown for as long as they are read.", 0.0, 0.3), None),
    ],
)
def test_cues_are_short_where_words_have_times(one: Segment, texts: list[str] | None) -> None:
    assert [text for _, text in cues_of(one)] == (texts or [one.text.strip()])


@given(st.lists(st.text("ab,. ", min_size=1, max_size=20), min_size=1, max_size=40), st.floats(0.01, 3))
def test_parts_of_a_segment_keep_all_text_in_order(words: list[str], word_s: float) -> None:
    one = spoken(" ".join(words), 0.0, word_s)
    found = cues_of(one)
    assert " ".join(text for _, text in found).split() == one.text.split()
    starts = [times[:12] for times, _ in found]
    assert starts == sorted(starts)


def test_channels_are_named_in_every_format() -> None:
    segments = (
        segment(0, 0.0, 1.0, " Hello,", speaker="Ann", words=(replace(WORDS[0], speaker="Ann"),)),
        segment(1, 1.0, 2.0, " it is Ann.", speaker="Ann"),
        segment(2, 2.0, 3.0, " Hello.", speaker="channel_1"),
    )
    transcript = replace(TRANSCRIPT, segments=segments, n_channels=2)
    assert to_text(transcript) == "Ann: Hello, it is Ann.\nchannel_1: Hello.\n"
    assert to_text(replace(transcript, segments=())) == "\n"
    body = json.loads(to_verbose_json(transcript, ["word", "segment"], DURATION))
    assert [one["speaker"] for one in body["segments"]] == ["Ann", "Ann", "channel_1"]
    assert body["words"][0]["speaker"] == "Ann"
    assert "\nAnn: Hello,\n" in to_srt(transcript)
    assert "\n<v channel_1>Hello.\n" in to_vtt(transcript)
    assert usage_of(transcript, "whisper-1", "json") == {"type": "duration", "seconds": 9}

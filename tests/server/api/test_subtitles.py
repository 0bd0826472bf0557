"""Readable subtitles: limits that hold for any transcript, and where lines end in real sentences."""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass, replace
from itertools import pairwise

import av
import pytest
from av.container import InputContainer
from hypothesis import given, settings
from hypothesis import strategies as st
from wcwidth import wcswidth

from suite_kit.slow import IN_SHORT
from whisper_server.api.formats import to_srt, to_vtt
from whisper_server.api.subtitles.limits import MAX_CUE_MS, CueShape, limits_of
from whisper_server.whisper.transcript import Segment, Task, Transcript, Word

GAP_MS = 84
SENTENCES = {
    "en": "In 2026, about 20 000 people came to New York with Dr. Smith, and most of them stayed for 3.5 weeks because it rained.",
    "de": "Am Montag kamen 1.000.000 Gäste nach Berlin, aber Herr von Braun blieb zu Hause, weil die Donaudampfschifffahrt ausfiel.",
    "fr": "L'étoile brille, mais Charles de Gaulle a payé 15 € pour voir le film qui durait 90 min.",
    "zh": "二零二六年一月三日，大约2026个人来到上海，他们说这里的天气很好，但是没有人知道明天会不会下雨。",
    "ja": "昨日はコンピューターを買いましたが、とても高かったので、友達に半分払ってもらいました。",
    "ko": "어제는 컴퓨터를 샀습니다. 그리고 너무 비싸서 친구가 반을 냈습니다.",
    "ru": "В 2026 году Анна Петровна приехала в Москву, потому что там жили её друзья.",
}


@dataclass(frozen=True)
class Shown:
    start_ms: int
    end_ms: int
    lines: list[str]


def shown(subtitles: str) -> list[Shown]:
    """The cues of srt or vtt text."""
    found = []
    for block in subtitles.removeprefix("WEBVTT\n\n").split("\n\n")[:-1]:
        lines = block.split("\n")
        times = next(index for index, line in enumerate(lines) if " --> " in line)
        start, end = (clock_ms(text) for text in lines[times].split(" --> "))
        found.append(Shown(start, end, lines[times + 1 :]))
    return found


def clock_ms(text: str) -> int:
    hours, minutes, seconds, ms = (int(part) for part in re.split("[:,.]", text))
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + ms


def split(text: str, language: str) -> list[str]:
    """The words as the pipeline cuts them: characters with their marks in languages without spaces."""
    return re.findall(r".[，。、]*", text) if language in {"zh", "ja"} else [f" {word}" for word in text.split()]


def segment(texts: list[str], start_s: float, word_s: float, speaker: str | None = None) -> Segment:
    words = tuple(
        Word(text.strip(), start_s + index * word_s, start_s + (index + 1) * word_s, 0.9)
        for index, text in enumerate(texts)
    )
    end_s = start_s + len(texts) * word_s
    return Segment(0, 0, start_s, end_s, "".join(texts), (), 0.0, -0.2, 1.1, 0.01, words, speaker)


def transcript(segments: list[Segment], language: str = "en") -> Transcript:
    return Transcript(Task.TRANSCRIBE, (language,), 60.0, "", tuple(segments))


def spoken(language: str, word_s: float = 0.35, speaker: str | None = None) -> Transcript:
    return transcript([segment(split(SENTENCES[language], language), 1.0, word_s, speaker)], language)


texts = st.one_of(
    st.text("abcé,.!?-' 0123日本、。ー한\u0301", min_size=1, max_size=12),
    st.sampled_from(["x" * 60, "Anna", "Karenina", "20", "000", "€", "and", "Dr.", "日" * 30, "👨‍👩‍👧", "  ", "\n"]),
)


@st.composite
def segments(draw: st.DrawFn) -> list[Segment]:
    found, now_s = [], 0.0
    for _ in range(draw(st.integers(0, 8))):
        now_s += draw(st.sampled_from([0.0, 0.02, 0.5, 3.0, 40.0]))
        words = [" " + text for text in draw(st.lists(texts, min_size=1, max_size=20))]
        one = segment(
            words, now_s, draw(st.sampled_from([0.0, 0.05, 0.3, 1.0, 9.0])), draw(st.sampled_from([None, "A"]))
        )
        if draw(st.booleans()):
            one = replace(one, words=())
        found.append(one)
        now_s = max(0.0, one.end_s - draw(st.sampled_from([0.0, 0.0, 2.0])))
    return found


shapes = st.builds(
    CueShape,
    st.none() | st.integers(8, 60),
    st.none() | st.integers(1, 4),
    st.none() | st.integers(1, 6),
    st.none() | st.floats(1, 40),
)


@settings(max_examples=60 if IN_SHORT else 500, deadline=None)
@given(segments(), shapes, st.sampled_from(["en", "zh"]))
def test_limits_hold_and_no_word_is_lost(spoken_segments: list[Segment], shape: CueShape, language: str) -> None:
    said = transcript(spoken_segments, language)
    limits = limits_of(shape, language)
    cues = shown(to_srt(said, shape))
    for cue in cues:
        shown_s = (cue.end_ms - cue.start_ms) / 1000
        assert 0 < cue.end_ms - cue.start_ms <= MAX_CUE_MS
        assert len(cue.lines) <= limits.line_count
        for line in cue.lines:
            assert wcswidth(line) <= limits.line_width
            assert line == line.strip() != ""
            assert len(line.removeprefix("A: ").split()) <= limits.words_per_line
        # Without the breaks: a line may end after "、", where the text has no space.
        text = "".join(cue.lines).removeprefix("A: ")
        assert math.isinf(limits.cps) or wcswidth(text) <= limits.cps * shown_s + 0.001
    for left, right in pairwise(cues):
        assert right.start_ms - left.end_ms >= GAP_MS
    written = "".join("".join(cue.lines).removeprefix("A: ") for cue in cues)
    assert sorted("".join(written.split())) == sorted("".join("".join(one.text for one in spoken_segments).split()))


@settings(max_examples=30 if IN_SHORT else 200, deadline=None)
@given(segments(), shapes)
def test_highlighted_words_are_the_words_in_order(spoken_segments: list[Segment], shape: CueShape) -> None:
    said = transcript([replace(one, speaker=None) for one in spoken_segments])
    plain, marked = shown(to_vtt(said, shape)), shown(to_vtt(said, replace(shape, highlight_words=True)))
    assert all(left.end_ms <= right.start_ms for left, right in pairwise(marked))
    assert {tuple(cue.lines) for cue in plain} == {
        tuple(re.sub("</?u>", "", line) for line in cue.lines) for cue in marked
    }


@pytest.mark.parametrize("language", SENTENCES)
def test_words_in_order_at_their_times_in_each_language(language: str) -> None:
    said = spoken(language, 0.35 if language not in {"zh", "ja"} else 0.2)
    cues = shown(to_srt(said, CueShape(max_line_count=2)))
    joint = "" if language in {"zh", "ja"} else " "
    assert joint.join(joint.join(cue.lines) for cue in cues) == SENTENCES[language]
    assert cues[0].start_ms == 1000


@pytest.mark.parametrize("width", range(15, 60, 5))
@pytest.mark.parametrize("language", SENTENCES)
def test_no_number_and_no_name_is_cut(language: str, width: int) -> None:
    cues = shown(to_srt(spoken(language), CueShape(max_line_width=width)))
    lines = [line for cue in cues for line in cue.lines]
    wholes = [
        "20 000",
        "New York",
        "Dr. Smith",
        "3.5",
        "1.000.000",
        "Herr von Braun",
        "Charles de Gaulle",
        "15 €",
        "90 min.",
        "Анна Петровна",
    ]
    wholes += ["2026个", "コンピューター", "L'étoile"]
    for whole in wholes:
        if whole in SENTENCES[language] and wcswidth(whole) <= width:
            assert any(whole in line for line in lines), (whole, lines)
    assert not any(line[0] in "，。、」ー" for line in lines)


def test_lines_end_at_marks_and_before_conjunctions() -> None:
    text = "We went to the market yesterday and bought some apples, pears which were ripe and a very old table."
    said = transcript([segment(split(text, "en"), 0.0, 0.35)])
    assert [cue.lines for cue in shown(to_srt(said, CueShape(max_line_width=42)))] == [
        ["We went to the market yesterday", "and bought some apples,"],
        ["pears which were ripe", "and a very old table."],
    ]


def test_cue_stays_until_it_is_read_but_not_into_the_next() -> None:
    said = transcript([segment([" Yes."], 0.0, 0.2), segment([" No."], 3.0, 0.2), segment([" Never."], 3.5, 1.0)])
    cues = shown(to_srt(said, CueShape(max_line_count=1, max_words_per_line=1)))
    assert [(cue.start_ms, cue.end_ms) for cue in cues] == [(0, 833), (3000, 3416), (3500, 4500)]


def test_words_per_line_alone_follow_the_speech() -> None:
    said = transcript([segment(split("one two three four five six", "en"), 0.0, 0.4)])
    assert shown(to_srt(said, CueShape(max_words_per_line=2))) == [
        Shown(0, 716, ["one two"]),
        Shown(800, 1516, ["three four"]),
        Shown(1600, 2433, ["five six"]),
    ]


def test_a_voice_has_its_own_cues_and_is_named() -> None:
    said = transcript(
        [segment([" Good", " morning."], 0.0, 0.4, "Ann & Co"), segment([" Hello."], 0.5, 0.5, "channel_1")]
    )
    assert to_vtt(said, CueShape(max_line_count=2)) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:00.650\n<v Ann &amp; Co>Good morning.\n\n"
        "00:00:00.734 --> 00:00:01.567\n<v channel_1>Hello.\n\n"
    )
    assert "\nAnn & Co: Good morning.\n" in to_srt(said)
    assert "\n<v channel_1>Hello.\n" in to_vtt(said)


@pytest.mark.parametrize("language", SENTENCES)
def test_ffmpeg_reads_every_cue(language: str) -> None:
    said = spoken(language, speaker="Eve")
    for written in (to_srt(said, CueShape(max_cps=12)), to_vtt(said, CueShape(highlight_words=True))):
        with av.open(io.BytesIO(written.encode())) as container:
            assert isinstance(container, InputContainer)
            packets = [packet for packet in container.demux(subtitles=0) if packet.size]
        cues = shown(written)
        assert [(packet.pts, packet.duration) for packet in packets] == [
            (cue.start_ms, cue.end_ms - cue.start_ms) for cue in cues
        ]

"""Words to speakers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from whisper_server.api.diarized import to_rttm
from whisper_server.whisper.speakers import Turn, letter, named, segments_with_speakers, speaker_at
from whisper_server.whisper.transcript import Segment, Word


def word(text: str, start_s: float) -> Word:
    return Word(text, start_s, start_s + 0.8, 1.0)


SEGMENT = Segment(
    id=3, seek=0, start_s=0.0, end_s=4.0, text=" Hello, Ann. Hello, Bob.", tokens=(1, 2), temperature=0.0, avg_logprob=-0.1,
    compression_ratio=1.0, no_speech_prob=0.0,
    words=(word(" Hello,", 0.1), word(" Ann.", 1.0), word(" Hello,", 2.1), word(" Bob.", 3.0)),
)  # fmt: skip
TURNS = (Turn(0.0, 2.0, "A"), Turn(2.0, 4.0, "B"))


@pytest.mark.parametrize(("index", "name"), [(0, "A"), (25, "Z"), (26, "AA"), (27, "AB"), (701, "ZZ"), (702, "AAA")])
def test_speakers_without_a_name_are_letters(index: int, name: str) -> None:
    assert letter(index) == name


def test_letters_go_by_first_turn_and_names_are_not_given_twice() -> None:
    turns = [Turn(0, 1, "7"), Turn(1, 2, "2"), Turn(2, 3, "4"), Turn(3, 4, "7")]
    assert [turn.speaker for turn in named(turns, {})] == ["A", "B", "C", "A"]
    assert [turn.speaker for turn in named(turns, {"4": "A"})] == ["B", "C", "A", "B"]


def test_segment_is_cut_where_the_speaker_changes() -> None:
    first, second = segments_with_speakers([SEGMENT], TURNS)
    assert (first.speaker, first.text, first.start_s, first.end_s) == ("A", " Hello, Ann.", 0.0, 1.8)
    assert (second.speaker, second.text, second.start_s, second.end_s) == ("B", " Hello, Bob.", 2.1, 4.0)
    assert [one.speaker for one in (*first.words, *second.words)] == ["A", "A", "B", "B"]


def test_segment_of_one_speaker_stays_whole() -> None:
    (only,) = segments_with_speakers([SEGMENT], TURNS[:1])
    assert (only.speaker, only.text, only.tokens) == ("A", SEGMENT.text, SEGMENT.tokens)


def test_segment_without_words_goes_to_who_speaks_most() -> None:
    (only,) = segments_with_speakers([replace(SEGMENT, words=())], (Turn(0, 1, "A"), Turn(1, 4, "B")))
    assert only.speaker == "B"


def test_word_between_turns_goes_to_the_nearest() -> None:
    assert speaker_at(2.5, 2.8, [Turn(0, 1, "A"), Turn(3, 4, "B")]) == "B"


def test_words_without_any_turn_are_of_one_speaker() -> None:
    assert [one.speaker for one in segments_with_speakers([SEGMENT], ())] == ["A"]


def test_rttm_has_no_space_in_a_name() -> None:
    assert to_rttm([Turn(0.5, 2.0, "Ann Lee")], "call") == "SPEAKER call 1 0.500 1.500 <NA> <NA> Ann_Lee <NA> <NA>\n"

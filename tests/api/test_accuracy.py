"""Words and their times against what espeak-ng was told to say."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from server_kit.api import Api
from server_kit.heard import MAIN_COLLECTION, TIMED, Heard, Pair, words_of
from speech_kit.espeak import SpokenWord
from speech_kit.recordings import Recording, join
from speech_kit.scores import StartErrors, WordErrors, aligned, normalised, start_errors, word_errors
from speech_kit.sentences import LANGUAGE_NAMES, LANGUAGES, Collection, spoken
from speech_kit.sounds import wav
from suite_kit.slow import IN_SHORT

Figure = Callable[[str], None]
MAX_WORD_ERRORS: dict[tuple[str, Collection], float] = {
    ("en", "everyday"): 0.07,
    ("en", "heldout"): 0.085,
    ("de", "everyday"): 0.06,
    ("de", "heldout"): 0.08,
    ("es", "everyday"): 0.08,
    ("es", "heldout"): 0.05,
    ("ru", "everyday"): 0.16,
    ("ru", "heldout"): 0.08,
}
"""The project's targets (en 7, de 6, es 5, ru 8 %) hold on a collection of 64 sentences or more in every language: everyday
ones in English and German, held-out ones in Spanish and Russian. Where the model itself does worse on the other one, its
limit is a little above what the model does on bare CTranslate2."""
MAX_EXCESS_IN_SHORT = 0.03
"""Of the first 16 sentences: Spanish has 5.0 %, Russian 9.4 % (four words too many of 128)."""
MIN_LANGUAGE_FOUND = 0.97
on_ctranslate2 = pytest.mark.on_ctranslate2(because="on vLLM's CPU build it takes minutes")
before_release = pytest.mark.before_release(because="hundreds of sentences take minutes")


def _errors_of(pairs: list[Pair]) -> WordErrors:
    return word_errors([pair.said.text for pair in pairs], [pair.answer["text"] for pair in pairs])


@pytest.mark.parametrize(
    ("language", "collection"),
    [
        pytest.param(*key, marks=() if MAIN_COLLECTION[key[0]] == key[1] else (on_ctranslate2, before_release))
        for key in MAX_WORD_ERRORS
    ],
)
def test_word_error_rate_of_sentences_the_model_never_met(
    heard: Heard, language: str, collection: Collection, figure: Figure
) -> None:
    pairs = heard.sentences(language, collection)
    errors = _errors_of(pairs)
    figure(f"{language}, {len(pairs)} {collection} sentences: {errors}")
    assert errors.rate <= MAX_WORD_ERRORS[language, collection] + (MAX_EXCESS_IN_SHORT if IN_SHORT else 0)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_language_is_found(heard: Heard, language: str, figure: Figure) -> None:
    pairs = heard.both(language)
    found = sum(pair.answer["language"] == LANGUAGE_NAMES[language] for pair in pairs) / len(pairs)
    figure(f"{language}: language right in {found:.1%} of {len(pairs)} sentences")
    assert found >= MIN_LANGUAGE_FOUND


@pytest.mark.parametrize("language", LANGUAGES)
def test_word_starts_of_single_sentences(heard: Heard, language: str, figure: Figure) -> None:
    errors_s: list[float] = []
    for pair in heard.both(language):
        errors_s += start_errors(pair.said.words, words_of(pair.answer)).errors_s
    _check_starts(language, StartErrors(tuple(errors_s)), min_starts=60 if IN_SHORT else 250, figure=figure)


def _check_starts(what: str, errors: StartErrors, min_starts: int, figure: Figure) -> None:
    figure(f"{what}: {errors}")
    assert len(errors.errors_s) >= min_starts
    assert errors.mean_s <= 0.060
    assert errors.share_within(0.120) >= 0.90


def test_words_and_segments_lie_in_order_and_inside_the_clip(heard: Heard) -> None:
    for pair in heard.both("en"):
        said, answer = pair.said, pair.answer
        assert answer["duration"] == pytest.approx(said.duration_s, abs=0.02)
        for kind in ("words", "segments"):
            times = [(item["start"], item["end"]) for item in answer[kind]]
            assert times, f"{kind} of {said.text!r}"
            assert all(0 <= start <= end <= said.duration_s + 0.05 for start, end in times), (said.text, times)
            assert all(before[0] <= after[0] for before, after in pairwise(times)), (said.text, times)
        assert [segment["id"] for segment in answer["segments"]] == list(range(len(answer["segments"])))


def test_segments_and_words_say_what_the_text_says(heard: Heard) -> None:
    for answer in (pair.answer for pair in heard.sentences("de")):
        text = normalised(answer["text"])
        assert normalised(" ".join(segment["text"] for segment in answer["segments"])) == text
        assert (
            normalised(
                "".join(word["word"] if word["word"][:1] == " " else f" {word['word']}" for word in answer["words"])
            )
            == text
        )


def test_word_starts_in_a_recording_of_three_minutes(api: Api, figure: Figure) -> None:
    recording = join([spoken("en", index) for index in range(52)], seed=1)
    assert 180 <= recording.duration_s <= 240
    answer = api.json(wav(recording.samples), **TIMED)
    assert answer["duration"] == pytest.approx(recording.duration_s, abs=0.02)
    _check_starts(
        f"{recording.duration_s:.0f} s", start_errors(recording.words, words_of(answer)), min_starts=300, figure=figure
    )
    _check_segments(recording, answer, figure)


def _check_segments(recording: Recording, answer: Any, figure: Figure) -> None:
    """Every sentence begins where some segment says that it begins, within half a second."""
    starts_s = [segment["start"] for segment in answer["segments"]]
    off = [min(abs(start_s - said_s) for start_s in starts_s) for said_s in recording.starts_s]
    near = sum(each <= 0.5 for each in off) / len(off)
    figure(f"{near:.0%} of {len(off)} sentences begin within 0.5 s of a segment's start")
    assert near >= 0.8


@pytest.fixture(scope="module")
def ten_minutes(api: Api, heard: Heard) -> tuple[Recording, Any, list[Pair]]:
    """All English sentences in one recording, what was heard in it, and what in each sentence alone."""
    alone = heard.both("en")
    recording = join([pair.said for pair in alone], seed=2)
    return recording, api.json(wav(recording.samples), **TIMED), alone


@on_ctranslate2
@before_release
def test_ten_minutes_are_transcribed_as_well_as_their_sentences(
    ten_minutes: tuple[Recording, Any, list[Pair]], figure: Figure
) -> None:
    recording, answer, alone = ten_minutes
    assert recording.duration_s >= 590
    one_by_one = _errors_of(alone)
    together = word_errors([recording.text], [answer["text"]])
    figure(f"{recording.duration_s:.0f} s: {together}; its sentences one by one: {one_by_one}")
    assert together.rate <= one_by_one.rate + 0.03
    _check_starts("ten minutes", start_errors(recording.words, words_of(answer)), min_starts=900, figure=figure)


@on_ctranslate2
@before_release
def test_no_word_is_lost_or_doubled_where_windows_meet(
    ten_minutes: tuple[Recording, Any, list[Pair]], figure: Figure
) -> None:
    recording, answer, alone = ten_minutes
    cuts_s = sorted({segment["seek"] / 100 for segment in answer["segments"]} - {0.0})
    assert len(cuts_s) >= recording.duration_s / 30 - 1
    said = ["".join(normalised(word.text)) for word in recording.words]
    heard = ["".join(normalised(word)) for word, _ in words_of(answer)]
    alignment = aligned(said, heard)
    place = dict(alignment.matched)
    drawn = _drawn(answer)
    faults: list[str] = []
    by_chance: list[str] = []
    for cut_s in cuts_s:
        before, after = _words_at(recording.words, cut_s)
        lost = {before, after} & set(alignment.lost)
        # A word beside the cut that is heard as two ("Fuchs", "Fuch is") is misheard, not heard twice.
        between = heard[place[before] + 1 : place[after]] if before in place and after in place else []
        twice = set(between) & set(said[max(0, before - 2) : after + 3])
        if (lost or twice) and not _missed_alone(recording, alone, {before, after}):
            fault = f"{cut_s:.1f} s: {said[before - 2 : after + 3]} became {_around(answer, cut_s)}"
            (by_chance if any(start_s <= cut_s <= end_s for start_s, end_s in drawn) else faults).append(fault)
    figure(
        f"{len(cuts_s)} cuts, faults at {len(faults)}, beside {len(drawn)} windows drawn by chance at {len(by_chance)}"
    )
    assert not faults
    assert len(by_chance) <= 1, by_chance


@on_ctranslate2
@before_release
def test_no_word_is_repeated_over_and_over(ten_minutes: tuple[Recording, Any, list[Pair]]) -> None:
    _, answer, _ = ten_minutes
    drawn = _drawn(answer)
    heard = [("".join(normalised(word)), start_s) for word, start_s in words_of(answer)]
    repeated = [
        (word, start_s)
        for (word, start_s), (second, _), (third, _) in zip(heard, heard[1:], heard[2:], strict=False)
        if word == second == third
    ]
    assert not [each for each in repeated if not any(start_s <= each[1] <= end_s for start_s, end_s in drawn)]
    # A loop is many words long; what is drawn by chance may stammer.
    assert len(repeated) <= 3, repeated


def _drawn(answer: Any) -> list[tuple[float, float]]:
    """Where the windows are that climbed the ladder, whose words are drawn by chance: few, and not the same every time."""
    windows: dict[float, float] = {}
    for segment in answer["segments"]:
        if segment["temperature"] > 0:
            windows[segment["seek"] / 100] = segment["end"] + 1
    assert len(windows) <= 2, windows
    return list(windows.items())


def _words_at(words: tuple[SpokenWord, ...], cut_s: float) -> tuple[int, int]:
    """The words said last before a cut and first after it."""
    after = next(index for index, word in enumerate(words) if word.start_s is not None and word.start_s >= cut_s - 0.05)
    return after - 1, after


def _missed_alone(recording: Recording, alone: list[Pair], indices: set[int]) -> bool:
    """Whether the model misses one of these words in its sentence alone too: then no cut is to blame."""
    first = 0
    for pair in alone:
        words = ["".join(normalised(word.text)) for word in pair.said.words]
        lost = aligned(words, normalised(pair.answer["text"])).lost
        if any(first + index in indices for index in lost):
            return True
        first += len(words)
    return False


def _around(answer: Any, at_s: float) -> list[str]:
    return [word["word"] for word in answer["words"] if abs(word["start"] - at_s) < 2.5]

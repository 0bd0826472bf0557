"""Tokens become words as in openai/whisper's tokenizer.py and timing.py, and words are clipped to audible sound."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_kit.demo import demo_tokenizer
from speech_kit.sounds import silence, tone, white_noise
from whisper_server.speech.loudness import AudibleFrames
from whisper_server.speech.words import (
    APPENDED_PUNCTUATION,
    PREPENDED_PUNCTUATION,
    TimedWord,
    begin_with_speech,
    cap_at_segment_starts,
    clip_to_sound,
    segment_ranges,
    split_words,
    time_words,
)
from whisper_server.whisper.engine_protocol import Alignment

PIECES = st.sampled_from(
    ["a", " b", " cat", ".", ",", " (", ")", '"', ' "', "'", " ", "", "!?", "—", " ¿", "что", "。"]
)


def words_of(text: str, language: str) -> list[str]:
    tokenizer = demo_tokenizer()
    return [word for word, _ in split_words(tokenizer.encode_text(text), tokenizer.detokenize, language)]


def timed(words: list[str], starts_s: list[float]) -> tuple[TimedWord, ...]:
    """One token per word; `starts_s` ends with the end of the last word."""
    alignment = Alignment(tuple(starts_s), tuple(0.5 + 0.1 * (n % 5) for n in range(len(words))))
    return time_words([(word, 1) for word in words], alignment)


def evenly(words: list[str]) -> tuple[TimedWord, ...]:
    return timed(words, [0.2 * n for n in range(len(words) + 1)])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (" Appuyez sur l'étoile", [" Appuyez", " sur", " l'étoile"]),
        (" dell'utente d'agent", [" dell'utente", " d'agent"]),
        (" the users' words", [" the", " users", "'", " words"]),
        (" it's 'quoted'", [" it's", " 'quoted", "'"]),
    ],
)
def test_elided_article_is_part_of_its_word(text: str, words: list[str]) -> None:
    assert words_of(text, "fr") == words


def openai_merge(words: list[str]) -> list[str]:
    """`merge_punctuations` of openai/whisper's timing.py, on texts."""
    texts = list(words)
    left, right = len(texts) - 2, len(texts) - 1
    while left >= 0:
        if texts[left].startswith(" ") and texts[left].strip() in PREPENDED_PUNCTUATION:
            texts[right], texts[left] = texts[left] + texts[right], ""
        else:
            right = left
        left -= 1
    left, right = 0, 1
    while right < len(texts):
        if not texts[left].endswith(" ") and texts[right] in APPENDED_PUNCTUATION:
            texts[left], texts[right] = texts[left] + texts[right], ""
        else:
            left = right
        right += 1
    return [text for text in texts if text]


def test_words_start_at_spaces_and_punctuation_is_separate() -> None:
    assert words_of(" The train, at seven.", "en") == [" The", " train", ",", " at", " seven", "."]


def test_characters_of_several_tokens_are_whole() -> None:
    assert words_of(" Съешь 日本 🎧!", "ru") == [" Съешь", " 日本", " 🎧", "!"]


@pytest.mark.parametrize("language", ["ja", "zh", "th", "yue"])
def test_languages_without_spaces_split_into_characters(language: str) -> None:
    assert words_of("日本語です", language) == list("日本語です")


def test_incomplete_characters_stay_in_a_word() -> None:
    tokenizer = demo_tokenizer()
    tokens = (*tokenizer.encode_text(" ok"), *tokenizer.encode_text("語")[:-1])
    words = split_words(tokens, tokenizer.detokenize, "en")
    assert sum(n_tokens for _, n_tokens in words) == len(tokens)
    assert words[0][0].startswith(" ok")


@given(st.text(st.characters(codec="utf-8"), max_size=40), st.sampled_from(["en", "ja"]))
def test_words_hold_all_text_and_all_tokens(text: str, language: str) -> None:
    tokenizer = demo_tokenizer()
    tokens = tokenizer.encode_text(text)
    words = split_words(tokens, tokenizer.detokenize, language)
    assert "".join(word for word, _ in words) == text
    assert sum(n_tokens for _, n_tokens in words) == len(tokens)
    assert all(n_tokens > 0 for _, n_tokens in words)


def test_words_have_times_and_mean_probability_of_tokens() -> None:
    alignment = Alignment((0.1, 0.3, 0.5, 1.0), (0.25, 0.5, 0.9))
    assert time_words([(" Hello", 2), (" world", 1)], alignment) == (
        TimedWord(" Hello", 2, 0.1, 0.5, 0.375, 0.25),
        TimedWord(" world", 1, 0.5, 1.0, 0.9, 0.9),
    )


def test_punctuation_is_merged_without_changing_times() -> None:
    words = evenly([' "', "Hi", ",", " you", "!", '"'])
    assert [word.text for word in words] == [' "Hi,', ' you!"']
    assert [word.n_tokens for word in words] == [3, 3]
    assert [word.start_s for word in words] == pytest.approx([0.2, 0.6])
    assert [word.end_s for word in words] == pytest.approx([0.4, 0.8])


def test_punctuation_alone_is_one_word() -> None:
    assert [word.text for word in evenly(["...", ".", "?"])] == ["....?"]
    assert [word.text for word in evenly(["."])] == ["."]
    assert time_words([], Alignment((0.0,), ())) == ()


@given(st.lists(PIECES.filter(bool), max_size=12))
def test_punctuation_is_merged_as_in_openai_whisper(pieces: list[str]) -> None:
    merged = evenly(pieces)
    assert [word.text for word in merged] == openai_merge(pieces)
    assert sum(word.n_tokens for word in merged) == len(pieces)


def test_pause_after_sentence_belongs_to_neither_word() -> None:
    # The full stop is aligned with a pause of 3 s, the next sentence's first word with another.
    words = timed([" One", " two", ".", " Three", " four"], [0.0, 0.3, 0.6, 3.6, 6.6, 6.9])
    assert [word.text for word in words] == [" One", " two.", " Three", " four"]
    assert words[1].end_s == 0.6
    assert (words[2].start_s, words[2].end_s) == pytest.approx((6.0, 6.6))  # twice the median word


def test_words_of_zero_length_do_not_affect_median() -> None:
    words = timed([" a", " b", " c", ".", " d"], [1.0, 1.0, 1.0, 1.4, 1.4, 5.0])
    assert words[-1].start_s == 5.0 - 2 * 0.7  # the median is capped


@given(st.lists(PIECES.filter(bool), min_size=1, max_size=12), st.data())
def test_times_never_decrease(pieces: list[str], data: st.DataObject) -> None:
    steps = data.draw(st.lists(st.integers(0, 50), min_size=len(pieces) + 1, max_size=len(pieces) + 1))
    starts_s = (np.cumsum(steps) * 0.02).tolist()
    samples = white_noise(5.0)
    for words in (timed(pieces, starts_s), clip_to_sound(timed(pieces, starts_s), AudibleFrames(samples))):
        assert all(word.start_s <= word.end_s for word in words)
        assert all(left.end_s <= right.start_s + 1e-9 for left, right in pairwise(words))


WORD = TimedWord(" word", 1, 0.0, 1.0, 0.9, 0.9)


def test_word_starts_and_ends_with_its_sound() -> None:
    samples = np.concatenate([silence(0.4), tone(0.3), silence(0.5)])
    (word,) = clip_to_sound([WORD], AudibleFrames(samples))
    assert (word.start_s, word.end_s) == pytest.approx((0.4, 0.7), abs=0.011)


def test_short_silence_is_part_of_word() -> None:
    samples = np.concatenate([silence(0.08), tone(0.3), silence(0.3), tone(0.25), silence(0.07)])
    assert clip_to_sound([WORD], AudibleFrames(samples)) == (WORD,)


def test_faint_noise_is_a_pause() -> None:
    samples = np.concatenate([silence(0.4), tone(0.3), silence(0.3)]) + white_noise(1.0, rms=0.0005)
    (word,) = clip_to_sound([WORD], AudibleFrames(samples))
    assert (word.start_s, word.end_s) == pytest.approx((0.4, 0.7), abs=0.011)


def test_words_stay_within_window() -> None:
    late = WORD._replace(start_s=1.2, end_s=3.0)
    (word,) = clip_to_sound([late], AudibleFrames(tone(1.5)))
    assert word.end_s == 1.5
    (outside,) = clip_to_sound([WORD._replace(start_s=2.0, end_s=3.0)], AudibleFrames(tone(1.5)))
    assert (outside.start_s, outside.end_s) == (1.5, 1.5)


@pytest.mark.parametrize("samples", [silence(0.0), silence(0.005), silence(1.0)])
def test_words_in_silence_are_unchanged(samples: np.typing.NDArray[np.float32]) -> None:
    (word,) = clip_to_sound([WORD], AudibleFrames(samples))
    assert word.end_s == min(1.0, len(samples) / 16_000)


def lengths(*lengths_s: float) -> list[TimedWord]:
    """Words one after the other."""
    ends_s = np.cumsum(lengths_s).tolist()
    return [
        TimedWord(f" w{n}", 1, end_s - length_s, end_s, 0.5, 0.5)
        for n, (length_s, end_s) in enumerate(zip(lengths_s, ends_s, strict=True))
    ]


def starts(words: Sequence[TimedWord]) -> list[float]:
    return [round(word.start_s, 3) for word in words]


def test_word_after_music_begins_shortly_before_its_end() -> None:
    capped = cap_at_segment_starts(lengths(18.0, 0.3, 0.3, 0.3), [0])
    assert starts(capped) == [17.4, 18.0, 18.3, 18.6]
    assert capped[0].end_s == 18.0


def test_two_words_stretched_over_music_are_both_shortened() -> None:
    capped = cap_at_segment_starts(lengths(4.0, 14.0, 0.3, 0.3, 0.3), [0])
    assert starts(capped) == [16.8, 17.4, 18.0, 18.3, 18.6]
    assert capped[0].end_s == capped[1].start_s


def test_long_word_inside_a_segment_keeps_its_length() -> None:
    words = lengths(0.3, 0.3, 3.0, 0.3)
    assert cap_at_segment_starts(words, [0]) == tuple(words)


def test_first_word_without_pause_keeps_its_length() -> None:
    words = lengths(0.3, 0.3, 0.7, 0.3)
    assert cap_at_segment_starts(words, [0, 2]) == tuple(words)


def test_words_without_length_are_not_capped() -> None:
    words = lengths(0.0, 0.0)
    assert cap_at_segment_starts(words, [0]) == tuple(words)


def test_word_across_segments_belongs_to_the_first() -> None:
    words = [word._replace(n_tokens=2) for word in lengths(0.3, 0.3, 0.3)]
    assert segment_ranges(words, [3, 0, 1, 2]) == ((0, 2), (2, 2), (2, 2), (2, 3))


@pytest.mark.parametrize(
    ("speech_s", "expected_s"),
    [(0.5, [1.0, 2.0, 3.0]), (1.5, [1.5, 2.0, 3.0]), (2.4, [2.4, 2.7, 3.0]), (3.5, [1.0, 2.0, 3.0])],
)
def test_word_begins_where_speech_begins(speech_s: float, expected_s: list[float]) -> None:
    _, *words = lengths(1.0, 1.0, 1.0, 1.0)
    moved = begin_with_speech(words, 0, speech_s)
    assert starts(moved) == expected_s
    assert all(left.end_s <= right.start_s for left, right in pairwise(moved))


@pytest.mark.parametrize(
    ("sound_s", "start_s"),
    [
        pytest.param((1.0, 3.0), 1.0, id="a word behind silence"),
        pytest.param((0.5, 3.0), 1.15, id="music, which began long before"),
        pytest.param((1.5, 3.0), 1.15, id="nothing audible there"),
    ],
)
def test_sound_around_a_time_begins_where_it_is_audible(sound_s: tuple[float, float], start_s: float) -> None:
    samples = np.concatenate([silence(sound_s[0]), tone(sound_s[1] - sound_s[0]), silence(1.0)])
    assert AudibleFrames(samples).run_start_s(1.15, 0.25) == pytest.approx(start_s, abs=0.011)

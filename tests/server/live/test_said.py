"""What a session has said: the context of a pass, and the text before it."""

from __future__ import annotations

import pytest

from whisper_server.live.said import (
    EARLIER_CHARACTERS,
    MAX_TOKENS,
    SoFar,
    earlier_text,
    n_in_context,
    text_of,
    window_samples,
)
from whisper_server.live.turn import Said

S = 16_000


def n_words(text: str) -> int:
    return len(text.split())


def test_context_begins_with_the_window_and_has_one_language() -> None:
    said = [Said(0, " Good morning.", "en"), Said(5 * S, " Guten Tag.", "de"), Said(9 * S, " Bitte warten.", "de")]
    assert n_in_context(said, 0, "de", n_words) == 2
    assert n_in_context(said, 6 * S, "de", n_words) == 1
    assert n_in_context(said, 10 * S, "de", n_words) == 0
    assert n_in_context(said, 0, "en", n_words) == 0, "the last words are German"


def test_sound_without_words_ends_a_context() -> None:
    said = [Said(0, " One.", "en"), Said(2 * S, "", "en"), Said(4 * S, " Two.", "en")]
    assert n_in_context(said, 0, "en", n_words) == 1


def test_context_has_few_tokens() -> None:
    said = [Said(n * S, " word" * 25, "en") for n in range(8)]
    assert n_in_context(said, 0, "en", n_words) == MAX_TOKENS // 25


@pytest.mark.parametrize(
    ("is_cut", "is_slow", "pass_s", "length_s"),
    [
        (True, False, 0.05, 13),
        (True, True, 0.6, 13),
        (False, True, 0.6, 18),
        (False, False, 0.05, 27),
        (False, False, 0.4, 13),
    ],
)
def test_window_is_shorter_where_a_pass_is_slow_or_another_follows(
    *, is_cut: bool, is_slow: bool, pass_s: float, length_s: int
) -> None:
    assert window_samples(is_cut=is_cut, is_slow=is_slow, pass_s=pass_s) == length_s * S


def test_text_is_joined_as_its_language_is_written() -> None:
    assert text_of([Said(0, " One.", "en"), Said(1, "Two.", "en"), Said(2, "", "de")]) == " One. Two."
    assert text_of([Said(0, " One", "en"), Said(1, ", two.", "en"), Said(2, ".NET", "en")]) == " One, two. .NET"
    assert text_of([Said(0, "今日は。", "ja"), Said(1, "はい。", "ja")]) == "今日は。はい。"
    assert text_of([]) == ""


def test_earlier_turns_are_kept_as_far_as_a_prompt_needs_them() -> None:
    so_far = SoFar()
    for n in range(100):
        so_far.add([Said(n, f" This is sentence number {n}.", "en"), Said(n, "", "fr")])
    assert EARLIER_CHARACTERS <= sum(len(one.text) for one in so_far.said) < EARLIER_CHARACTERS + 30
    assert so_far.language == "en"
    n_said = len(so_far.said)
    so_far.end_context()
    so_far.end_context()
    assert n_in_context(so_far.said, 0, "en", n_words) == 0
    assert (so_far.language, len(so_far.said)) == ("en", n_said), "the text stays as the prompt"


def test_session_without_words_keeps_nothing() -> None:
    so_far = SoFar()
    so_far.add([Said(n, "", "en") for n in range(9)])
    assert so_far.said == []


def test_earlier_text_is_in_the_language_of_the_pass() -> None:
    said = [Said(0, " Good morning.", "en"), Said(1, " Guten Tag.", "de"), Said(2, "", "")]
    assert earlier_text(said, "de") == earlier_text(said, None) == " Guten Tag."
    assert earlier_text(said, "en") == ""
    long = [Said(n, f" Sentence number {n}.", "en") for n in range(100)]
    assert EARLIER_CHARACTERS < len(earlier_text(long, "en")) < EARLIER_CHARACTERS + 30
    assert len(text_of(long)) > 1_800

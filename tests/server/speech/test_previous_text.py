"""Which of the text before a window is its prompt."""

from __future__ import annotations

import pytest

from model_kit.demo import demo_tokenizer
from whisper_server.speech.previous_text import STEP_TOKENS, prompt_of, text_before, with_earlier
from whisper_server.speech.repetition import adds_phrase
from whisper_server.whisper.tokens import MAX_PREVIOUS_TOKENS
from whisper_server.whisper.transcript import Segment, WindowTranscript


def _window(text: str, *, language: str = "en", temperature: float = 0.0) -> WindowTranscript:
    segment = Segment(0, 0, 0.0, 1.0, text, (), temperature, -0.1, 1.0, 0.0)
    return WindowTranscript(text=text, segments=(segment,), language=language)


def test_text_is_joined_by_the_rules_of_its_language() -> None:
    assert text_before([_window(" one"), _window(" two")]) == "one two"
    assert text_before([_window("一", language="zh"), _window("二", language="zh")]) == "一二"
    assert text_before([]) == ""


def test_text_from_before_another_language_or_a_high_temperature_is_left_out() -> None:
    assert text_before([_window(" eins", language="de"), _window(" two")]) == "two"
    assert text_before([_window(" one"), _window(" two", temperature=0.6), _window(" three")]) == "three"
    assert text_before([_window(" one"), _window(" two", temperature=1.0)]) == ""


def test_prompt_keeps_what_is_given_and_the_end_of_the_text() -> None:
    tokenizer = demo_tokenizer()
    given = tokenizer.encode_text(" Kubernetes")
    assert prompt_of(tokenizer, given, [_window(" one")]) == given, "too short to be worth a prompt of its own length"
    prompt = prompt_of(tokenizer, given, [_window(" one two three" * 200), _window(" and the end")])
    assert prompt[: len(given)] == given
    assert len(prompt) <= MAX_PREVIOUS_TOKENS
    assert (len(prompt) - len(given)) % STEP_TOKENS == 0
    assert tokenizer.detokenize(prompt).endswith("and the end")


FIRST = "Pour enregistrer, appuyez ce rang, pour faire une écoute rapide, deux."


@pytest.mark.parametrize(
    ("second", "adds"),
    [
        pytest.param("Pour enregistrer, appuyez sur un. Pour faire une écoute rapide, deux.", False, id="a correction"),
        pytest.param(FIRST, False, id="the same"),
        pytest.param(f"{FIRST} Appuyez sur un pour enregistrer.", True, id="said once more"),
    ],
)
def test_phrase_of_the_window_before_counts_only_where_all_of_it_is_new(second: str, *, adds: bool) -> None:
    """Whisper base corrects "ce rang" by the menu before, in which "appuyez sur un" was heard."""
    assert adds_phrase(second, FIRST, "Menu principal. Appuyez sur un pour enregistrer.") == adds


@pytest.mark.parametrize(
    ("n_given", "n_prefix", "n_earlier"), [(0, 0, 64), (0, 20, 44), (0, 70, 0), (200, 0, 16), (223, 0, 0), (300, 0, 0)]
)
def test_earlier_text_leaves_what_is_given_whole(n_given: int, n_prefix: int, n_earlier: int) -> None:
    prompt = with_earlier([7] * n_given, [8] * 100, max_tokens=64, n_prefix_tokens=n_prefix)
    assert prompt.count(7) == min(n_given, MAX_PREVIOUS_TOKENS)
    assert prompt.count(8) == n_earlier

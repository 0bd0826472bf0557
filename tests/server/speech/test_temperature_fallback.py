"""Which attempt is accepted, by the thresholds of openai/whisper, and where a repetition is cut."""

from __future__ import annotations

import random
import zlib

import pytest

from whisper_server.speech.temperature_fallback import (
    MAX_COMPRESSION_RATIO,
    Attempt,
    best,
    compression_ratio,
    make_attempt,
    repetition_end,
    speech_threshold,
    temperatures,
)
from whisper_server.whisper.engine_protocol import Decoded

TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def attempt(*, avg_logprob: float = -0.1, ratio: float = 1.2, no_speech_prob: float = 0.0) -> Attempt:
    return Attempt(Decoded((1,), -1.0, no_speech_prob), "text", 0.0, avg_logprob, ratio)


@pytest.mark.parametrize(
    ("avg_logprob", "ratio", "no_speech_prob", "failed", "silent"),
    [
        (-0.1, 1.2, 0.0, False, False),
        (-1.0, 2.4, 0.6, False, False),  # values equal to a threshold pass
        (-1.01, 1.2, 0.0, True, False),
        (-0.1, 2.41, 0.0, True, False),
        (-0.1, 1.2, 0.99, False, False),  # likely words: no_speech_prob is ignored
        (-1.01, 1.2, 0.61, False, True),
        (-1.01, 2.41, 0.61, False, True),  # silence needs no fallback
        (-0.1, 2.41, 0.61, True, False),
    ],
)
def test_fallback_and_silence_follow_the_thresholds(
    avg_logprob: float, ratio: float, no_speech_prob: float, failed: bool, silent: bool
) -> None:
    judged = attempt(avg_logprob=avg_logprob, ratio=ratio, no_speech_prob=no_speech_prob)
    assert (judged.needs_fallback, judged.is_silence) == (failed, silent)


def test_unlikely_text_is_doubtful_above_fallback_threshold() -> None:
    assert not attempt(avg_logprob=-0.29).is_doubtful
    assert attempt(avg_logprob=-0.31).is_doubtful
    assert attempt(ratio=2.5).is_doubtful


@pytest.mark.parametrize(
    ("no_speech_prob", "avg_logprob", "duration_s", "threshold"),
    [
        (0.005, -0.4, 1.8, 0.3),  # " Vous êtes maintenant en ligne.", which the detector finds at 0.4
        (0.005, -1.1, 1.8, 0.5),
        (0.08, -0.4, 1.8, 0.5),
        (0.046, -0.4, 30.0, 0.5),  # music
        (0.4, -0.4, 1.2, 0.3),  # a single word
        (0.7, -0.4, 1.8, 0.6),
    ],
)
def test_detector_needs_less_evidence_where_the_model_is_sure(
    no_speech_prob: float, avg_logprob: float, duration_s: float, threshold: float
) -> None:
    doubtful = attempt(avg_logprob=avg_logprob, no_speech_prob=no_speech_prob)
    assert speech_threshold(doubtful, duration_s) == threshold


def test_avg_logprob_includes_end_token() -> None:
    judged = make_attempt(Decoded((5, 6, 7), -2.0, 0.0), "one two three", 0.4)
    assert judged.avg_logprob == pytest.approx(-0.5)
    assert judged.temperature == 0.4
    assert make_attempt(Decoded((), -0.25, 0.0), "", 0.0).avg_logprob == -0.25


@pytest.mark.parametrize(
    "text",
    [
        " Où est l'étoile ? Là-bas, où est l'étoile.",
        " “Thank you…” — that’s all.",
        " Cảm ơn các bạn đã theo dõi.",
        "♪ " * 10,
        "ご視聴ありがとうございました。" * 3,
        "好的。" * 9,
    ],
)
def test_compression_ratio_is_openais_for_latin_letters_symbols_and_ideographs(text: str) -> None:
    data = text.strip().encode()
    assert compression_ratio(text) == len(data) / len(zlib.compress(data))


def test_compression_ratio_of_a_menu_is_no_loop_in_any_alphabet() -> None:
    menu = (
        " Нажмите один, чтобы включить или выключить свой микрофон. Два, чтобы заблокировать или разблокировать конференцию. Три, "
        "чтобы удалить из конференции последнего. Четыре или шесть для уменьшения или увеличения уровня громкости звука. Пять, "
        "чтобы расширить конференцию. Семь или девять для уменьшения или увеличение громкости вашего голоса. Или восемь для "
        "выхода из конференции."
    )
    data = menu.strip().encode()
    assert len(data) / len(zlib.compress(data)) > MAX_COMPRESSION_RATIO
    assert compression_ratio(menu) < 2.0


@pytest.mark.parametrize("loop", ["thank you. ", "Спасибо за просмотр! ", "ευχαριστώ ", "شكرا لكم. ", "धन्यवाद। "])
def test_compression_ratio_finds_a_loop_in_any_alphabet(loop: str) -> None:
    assert compression_ratio(loop * 12) > MAX_COMPRESSION_RATIO
    assert compression_ratio("  ") == 0.0


def test_only_temperature_above_0_replaces_fallback() -> None:
    assert temperatures(None, TEMPERATURES) == TEMPERATURES
    assert temperatures(0.0, TEMPERATURES) == TEMPERATURES
    assert temperatures(0.3, TEMPERATURES) == (0.3,)


def test_best_failed_attempt_is_likeliest_without_repetition() -> None:
    loop, unlikely, least_unlikely = attempt(ratio=8), attempt(avg_logprob=-3), attempt(avg_logprob=-2)
    assert best([loop, unlikely, least_unlikely], lambda one: one is loop) is least_unlikely
    less_repetitive = attempt(ratio=3, avg_logprob=-0.5)
    assert best([loop, less_repetitive], lambda _: True) is less_repetitive


def test_what_a_speaker_repeats_is_better_than_an_unlikely_text() -> None:
    menu, garbage = attempt(ratio=2.5, avg_logprob=-0.14), attempt(avg_logprob=-5.4)
    likelier_menu, too_late = attempt(ratio=2.6, avg_logprob=-0.1), attempt(avg_logprob=-0.9)
    assert best([menu, likelier_menu, garbage], lambda _: False) is likelier_menu
    assert best([menu, likelier_menu, garbage, too_late], lambda _: False) is too_late


@pytest.mark.parametrize(
    ("tokens", "kept"),
    [
        ("", ""),
        ("abc", "abc"),
        ("abb", "abb"),  # two copies are not a repetition
        ("abbb", "ab"),
        ("aaaaaaa", "a"),
        ("xabcabcabc", "xabc"),
        ("xabcabcabca", "xabc"),  # the last copy is cut off
        ("xabcabcabcab", "xabc"),
        ("abcabcabcx", "abcabcabcx"),  # not at the end
        ("xnnn,nnn,nnn,nnn", "xnnn,"),  # a repeated phrase that has a repetition in it
    ],
)
def test_repetition_is_cut_after_first_copy(tokens: str, kept: str) -> None:
    numbers = [ord(character) for character in tokens]
    assert tokens[: repetition_end(numbers)] == kept


def test_phrase_of_up_to_32_tokens_is_kept_once() -> None:
    rng = random.Random(1)
    for length in range(1, 33):
        phrase = rng.sample(range(1000), length)
        start = rng.sample(range(1000, 2000), rng.randrange(5))
        cut_off = phrase[: rng.randrange(length)]
        tokens = [*start, *phrase * rng.randrange(3, 8), *cut_off]
        assert tokens[: repetition_end(tokens)] == [*start, *phrase]


def test_phrase_above_32_tokens_is_not_cut() -> None:
    phrase = list(range(33))
    assert repetition_end(phrase * 3) == 99

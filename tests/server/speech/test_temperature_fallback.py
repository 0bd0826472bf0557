"""Which attempt is believed, in openai/whisper's terms, and where a repetition ends."""

from __future__ import annotations

import random
import zlib

import pytest

from whisper_server.speech.temperature_fallback import (
    Attempt,
    best,
    compression_ratio,
    make_attempt,
    repetition_end,
    temperatures,
)
from whisper_server.whisper.engine_protocol import Decoded

LADDER = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def attempt(*, avg_logprob: float = -0.1, ratio: float = 1.2, no_speech_prob: float = 0.0) -> Attempt:
    return Attempt(Decoded((1,), -1.0, no_speech_prob), "text", 0.0, avg_logprob, ratio)


@pytest.mark.parametrize(
    ("avg_logprob", "ratio", "no_speech_prob", "failed", "silent"),
    [
        (-0.1, 1.2, 0.0, False, False),
        (-1.0, 2.4, 0.6, False, False),  # thresholds themselves still pass
        (-1.01, 1.2, 0.0, True, False),
        (-0.1, 2.41, 0.0, True, False),
        (-0.1, 1.2, 0.99, False, False),  # sure of the words: what the model says of silence does not count
        (-1.01, 1.2, 0.61, False, True),
        (-1.01, 2.41, 0.61, False, True),  # silence is no failure
        (-0.1, 2.41, 0.61, True, False),
    ],
)
def test_thresholds(avg_logprob: float, ratio: float, no_speech_prob: float, failed: bool, silent: bool) -> None:
    judged = attempt(avg_logprob=avg_logprob, ratio=ratio, no_speech_prob=no_speech_prob)
    assert (judged.needs_fallback, judged.is_silence) == (failed, silent)


def test_an_unlikely_text_is_doubtful_before_it_fails() -> None:
    assert not attempt(avg_logprob=-0.29).is_doubtful
    assert attempt(avg_logprob=-0.31).is_doubtful
    assert attempt(ratio=2.5).is_doubtful


def test_the_end_token_counts_in_the_average() -> None:
    judged = make_attempt(Decoded((5, 6, 7), -2.0, 0.0), "one two three", 0.4)
    assert judged.avg_logprob == pytest.approx(-0.5)
    assert judged.temperature == 0.4
    assert make_attempt(Decoded((), -0.25, 0.0), "", 0.0).avg_logprob == -0.25


def test_compression_ratio_is_that_of_utf8_bytes() -> None:
    text = " Привет, привет, привет"
    assert compression_ratio(text) == len(text.strip().encode()) / len(zlib.compress(text.strip().encode()))
    assert compression_ratio("thank you. " * 30) > 2.4
    assert compression_ratio("  ") == 0.0


def test_only_a_temperature_above_0_replaces_the_ladder() -> None:
    assert temperatures(None, LADDER) == LADDER
    assert temperatures(0.0, LADDER) == LADDER
    assert temperatures(0.3, LADDER) == (0.3,)


def test_the_best_of_the_failed_is_the_likeliest_that_does_not_repeat_itself() -> None:
    repetitive, unlikely, least_unlikely = attempt(ratio=8), attempt(avg_logprob=-3), attempt(avg_logprob=-2)
    assert best([repetitive, unlikely, least_unlikely]) is least_unlikely
    less_repetitive = attempt(ratio=3, avg_logprob=-5)
    assert best([repetitive, less_repetitive]) is less_repetitive


@pytest.mark.parametrize(
    ("tokens", "kept"),
    [
        ("", ""),
        ("abc", "abc"),
        ("abb", "abb"),  # twice is no repetition
        ("abbb", "ab"),
        ("aaaaaaa", "a"),
        ("xabcabcabc", "xabc"),
        ("xabcabcabca", "xabc"),  # the last one was cut off
        ("xabcabcabcab", "xabc"),
        ("abcabcabcx", "abcabcabcx"),  # not at the end
        ("xnnn,nnn,nnn,nnn", "xnnn,"),  # a repetition of repetitions
    ],
)
def test_where_a_repetition_ends(tokens: str, kept: str) -> None:
    numbers = [ord(character) for character in tokens]
    assert tokens[: repetition_end(numbers)] == kept


def test_any_phrase_of_up_to_32_tokens_is_said_once() -> None:
    rng = random.Random(1)
    for length in range(1, 33):
        phrase = rng.sample(range(1000), length)
        start = rng.sample(range(1000, 2000), rng.randrange(5))
        cut_off = phrase[: rng.randrange(length)]
        tokens = [*start, *phrase * rng.randrange(3, 8), *cut_off]
        assert tokens[: repetition_end(tokens)] == [*start, *phrase]


def test_longer_phrases_are_left_alone() -> None:
    phrase = list(range(33))
    assert repetition_end(phrase * 3) == 99

"""Sounds without speech give no text; speech in noise gives its own words only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from server_kit.api import Api, in_flight
from speech_kit.espeak import Samples
from speech_kit.scores import normalised, word_errors
from speech_kit.sentences import said, spoken
from speech_kit.sounds import (
    arpeggio_with_drums,
    chords,
    mains_hum,
    silence,
    tone,
    wav,
    white_noise,
    with_noise,
)
from suite_kit.slow import IN_SHORT
from whisper_server.whisper.constants import SAMPLE_RATE_HZ

SPEECHLESS: Mapping[str, Samples] = {
    "silence of 5 s": silence(5),
    "silence of exactly 30 s": silence(30),
    "faint noise of 10 s": white_noise(10, rms=0.002),
    "white noise of 10 s": white_noise(10, rms=0.05, seed=1),
    "loud noise of 3 s": white_noise(3, rms=0.3, seed=3),
    "tone of 440 Hz": tone(12),
    "tone of 1 kHz, loud": tone(8, frequency_hz=1000, peak=0.8),
    "mains hum of 50 Hz": mains_hum(15),
    "chords": chords(20),
    "arpeggio with drums": arpeggio_with_drums(20),
    "silence of 0.1 s": silence(0.1),
    "tone of 0.1 s": tone(0.1),
    "white noise of 0.1 s": white_noise(0.1, rms=0.1, seed=5),
    "mains hum of 0.1 s": mains_hum(0.1),
    "a chord of 0.1 s": chords(0.1, seed=6),
    "tone of half a second": tone(0.5, frequency_hz=300),
} | (
    {}
    if IN_SHORT
    else {
        "silence of 65 s": silence(65),
        "white noise of 45 s": white_noise(45, rms=0.1, seed=2),
        "mains hum of 60 Hz": mains_hum(35, frequency_hz=60),
        "other chords": chords(40, seed=5),
        "another arpeggio": arpeggio_with_drums(33, seed=7),
        "mains hum of exactly 60 s": mains_hum(60),
        "white noise of exactly 30 s": white_noise(30, rms=0.05, seed=4),
        "arpeggio of exactly 30 s": arpeggio_with_drums(30, seed=11),
    }
)


@pytest.fixture(scope="module")
def heard(api: Api) -> Mapping[str, Any]:
    """What the server makes of each sound, with words asked for."""
    granularities = ["word", "segment"]
    answers = in_flight(
        lambda samples: api.verbose(wav(samples), timestamp_granularities=granularities), list(SPEECHLESS.values())
    )
    return dict(zip(SPEECHLESS, answers, strict=True))


@pytest.mark.parametrize("sound", SPEECHLESS)
def test_sounds_without_speech_give_no_text(heard: Mapping[str, Any], sound: str) -> None:
    answer = heard[sound]
    assert (answer["text"], answer["segments"], answer["words"]) == ("", [], [])


UNTIMED = dict(list(SPEECHLESS.items())[:: 2 if IN_SHORT else 1])


@pytest.fixture(scope="module")
def heard_untimed(api: Api) -> Mapping[str, str]:
    """Without timestamps, in which models lose their way differently."""
    return dict(zip(UNTIMED, in_flight(lambda samples: api.text(wav(samples)), list(UNTIMED.values())), strict=True))


@pytest.mark.parametrize("sound", UNTIMED)
def test_sounds_without_speech_give_no_text_without_timestamps(heard_untimed: Mapping[str, str], sound: str) -> None:
    assert heard_untimed[sound] == ""


@pytest.mark.on_both_engines
def test_every_format_of_silence_is_an_empty_transcript(api: Api) -> None:
    quiet = wav(silence(2))
    answers = {name: api.post(quiet, response_format=name) for name in ("json", "text", "srt", "vtt")}
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(answers, 200)
    assert answers["json"].json()["text"] == ""
    assert answers["text"].text.strip() == ""
    assert answers["srt"].text.strip() == ""
    assert answers["vtt"].text.strip() == "WEBVTT"


@pytest.mark.on_both_engines
def test_a_stream_of_silence_has_no_deltas(api: Api) -> None:
    events = list(api.events(wav(silence(3))))
    assert [event.type for event in events] == ["transcript.text.done"]
    assert events[0].data["text"] == ""


SENTENCE = "The train to the city leaves at seven in the morning."
SURROUNDINGS: Mapping[str, Samples] = {
    "after and before silence": np.concatenate([silence(20), said(SENTENCE).samples, silence(20)]),
    "after and before faint noise": np.concatenate(
        [white_noise(12, rms=0.005), said(SENTENCE).samples, white_noise(12, rms=0.005, seed=1)]
    ),
    "after 9 s of noise 25 dB below": with_noise(
        np.concatenate([silence(9), said(SENTENCE).samples, silence(9)]), snr_db=25
    ),
    "in noise 20 dB below": with_noise(np.concatenate([silence(4), said(SENTENCE).samples, silence(4)]), snr_db=20),
    "after half a minute of music": np.concatenate(
        [arpeggio_with_drums(30), silence(1), said(SENTENCE).samples, silence(1)]
    ),
} | (
    {}
    if IN_SHORT
    else {
        "after half a minute of hum": np.concatenate([mains_hum(30), silence(1), said(SENTENCE).samples, silence(1)]),
        "between two minutes of silence": np.concatenate([silence(60), said(SENTENCE).samples, silence(60)]),
    }
)


@pytest.fixture(scope="module")
def heard_around(api: Api) -> Mapping[tuple[str, str], Any]:
    """With timestamps and without: models lose their way differently."""
    asked = [(place, response_format) for place in SURROUNDINGS for response_format in ("json", "verbose_json")]
    answers = in_flight(lambda each: api.json(wav(SURROUNDINGS[each[0]]), response_format=each[1]), asked)
    return dict(zip(asked, answers, strict=True))


@pytest.mark.parametrize("response_format", ["json", "verbose_json"])
@pytest.mark.parametrize("place", SURROUNDINGS)
def test_speech_among_other_sounds_is_transcribed_alone(
    heard_around: Mapping[tuple[str, str], Any], place: str, response_format: str, figure: Callable[[str], None]
) -> None:
    text = heard_around[place, response_format]["text"]
    errors = word_errors([SENTENCE], [text])
    figure(f"{place}, {response_format}: {errors}: {text!r}")
    assert len(normalised(text)) <= len(normalised(SENTENCE)) + 1
    assert errors.n_edits <= 2


@pytest.mark.parametrize("language", ["en", "de"])
def test_speech_after_a_long_pause_has_the_right_times(api: Api, language: str) -> None:
    utterance = spoken(language, 1)
    recording = np.concatenate([silence(12), utterance.samples, silence(9), utterance.samples, silence(20)])
    segments = api.verbose(wav(recording))["segments"]
    second_s = 21 + len(utterance.samples) / SAMPLE_RATE_HZ
    assert [segment["start"] for segment in segments] == pytest.approx([12, second_s], abs=0.5)
    assert word_errors([utterance.text] * 2, [segment["text"] for segment in segments]).rate <= 0.25


def test_voice_activity_leaves_out_what_is_no_speech(api: Api) -> None:
    samples = np.concatenate([white_noise(8, rms=0.01), said(SENTENCE).samples, white_noise(8, rms=0.01, seed=4)])
    answer = api.verbose(wav(samples), chunking_strategy="auto")
    assert word_errors([SENTENCE], [answer["text"]]).n_edits <= 2
    assert 7.0 <= answer["segments"][0]["start"] <= 8.5
    assert answer["duration"] == pytest.approx(len(samples) / 16_000, abs=0.02)

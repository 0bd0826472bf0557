"""Recordings whose speech is easily missed: one word, a silent first track, opposite phases, a placeholder size."""

from __future__ import annotations

import pytest

from real_kit.containers import Track, matroska, opposite_phases, wav_of_size_42, with_id3
from real_kit.speech import music, prompt_path, read, silence, wav
from server_kit.api import Api

MUSIC_S = 12


@pytest.mark.parametrize(
    ("language", "name"), [("es", "minutes"), ("en", "digits/pound"), ("en", "removed"), ("ru", "vm-password")]
)
def test_recording_of_one_word_is_not_empty(api: Api, language: str, name: str) -> None:
    assert api.text(wav(read(prompt_path(language, name))), language=language)


def test_quick_sentence_that_the_voice_detector_denies_is_heard_with_times(api: Api) -> None:
    """1.8 s; the text's avg_logprob is -0.40, its no_speech_prob 0.005."""
    said = read(prompt_path("fr", "agent-loginok"))
    assert api.verbose(wav(said), language="fr")["text"].strip() == "Vous êtes maintenant en ligne."


def test_opposite_phases_do_not_cancel(api: Api) -> None:
    assert "locked" in api.text(opposite_phases(read(prompt_path("en", "conf-lockednow"))), language="en").lower()


def test_silent_first_track_does_not_hide_the_second(api: Api) -> None:
    speech = read(prompt_path("en", "conf-lockednow"))
    file = matroska([Track(silence(len(speech) / 8000)), Track(speech)])
    assert "locked" in api.text(file, language="en").lower()


def test_wav_with_a_placeholder_size_is_read_to_its_end(api: Api) -> None:
    assert "locked" in api.text(wav_of_size_42(read(prompt_path("en", "conf-lockednow"))), language="en").lower()


def test_wav_after_an_id3_tag_is_read(api: Api) -> None:
    assert "locked" in api.text(with_id3(wav(read(prompt_path("en", "conf-lockednow")))), language="en").lower()


@pytest.mark.parametrize("response_format", ["json", "verbose_json"])
def test_music_has_no_words(api: Api, response_format: str) -> None:
    pieces = [piece.sound[: MUSIC_S * 8000] for piece in music()]
    heard = [api.json(wav(piece), response_format=response_format) for piece in pieces]
    assert [answer["text"] for answer in heard] == [""] * len(pieces)


def test_silence_is_not_reported_as_a_rare_language(api: Api) -> None:
    assert api.verbose(wav(silence(1.0)))["language"] == "english"

"""Recordings whose speech is easily missed: one word, a silent first track, opposite phases, a placeholder size."""

from __future__ import annotations

import pytest

from real_kit.containers import Track, matroska, opposite_phases, wav_of_size_42, with_id3
from real_kit.speech import music, prompt_path, read, silence, wav
from server_kit.api import Api


@pytest.mark.parametrize(
    ("language", "name"), [("es", "minutes"), ("en", "digits/pound"), ("en", "removed"), ("ru", "vm-password")]
)
def test_recording_of_one_word_is_not_empty(api: Api, language: str, name: str) -> None:
    assert api.text(wav(read(prompt_path(language, name))), language=language)


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


@pytest.mark.parametrize("seconds", [25])
def test_music_has_no_words(api: Api, seconds: int) -> None:
    pieces = [piece.sound[: seconds * 8000] for piece in music()]
    assert [api.text(wav(piece)) for piece in pieces] == [""] * len(pieces)

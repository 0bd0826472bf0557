"""Times of cues and words follow the speech, not the window and not the music before it."""

from __future__ import annotations

import pytest

from real_kit.containers import Track, matroska, mp4
from real_kit.speech import RATE_HZ, joined, music, prompt_path, read, silence, wav
from server_kit.api import Api

LEAD_S = 2.8
MUSIC_S = 18.0
LATE_S = 2.98


def test_cue_begins_with_its_speech_after_a_silent_lead(api: Api) -> None:
    sound = joined(silence(LEAD_S), read(prompt_path("en", "conf-locked")))
    segment = api.verbose(wav(sound), language="en")["segments"][0]
    assert segment["start"] == pytest.approx(LEAD_S, abs=0.3)


def test_word_after_music_does_not_begin_with_the_music(api: Api) -> None:
    piece = music()[0].sound[: round(MUSIC_S * RATE_HZ)]
    speech = read(prompt_path("en", "conf-lockednow"))
    answer = api.verbose(wav(joined(piece, speech)), language="en", timestamp_granularities=["word"])
    assert min(word["start"] for word in answer["words"]) >= MUSIC_S - 0.5
    assert max(word["end"] - word["start"] for word in answer["words"]) <= 2.0


def test_segment_after_music_does_not_begin_with_the_music(api: Api) -> None:
    piece = music()[0].sound[: round(MUSIC_S * RATE_HZ)]
    sound = joined(piece, read(prompt_path("en", "conf-lockednow")))
    assert api.verbose(wav(sound), language="en")["segments"][0]["start"] == pytest.approx(MUSIC_S, abs=1.0)


@pytest.mark.parametrize("container", [matroska, mp4])
def test_late_sound_track_keeps_its_place(api: Api, container: object) -> None:
    assert callable(container)
    file = container([Track(read(prompt_path("en", "conf-lockednow")), LATE_S)], 8.0)
    answer = api.verbose(file, language="en")
    assert answer["segments"][0]["start"] == pytest.approx(LATE_S, abs=0.3)
    assert answer["duration"] == pytest.approx(
        LATE_S + len(read(prompt_path("en", "conf-lockednow"))) / RATE_HZ, abs=0.3
    )

"""Files that hold no sound, too little, too much or less than they promise."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from server_kit.api import Api, in_flight
from speech_kit.scores import word_errors
from speech_kit.sentences import sentences, spoken
from speech_kit.sounds import silence, wav
from suite_kit.slow import SLOW

MAX_UPLOAD_BYTES = 2_000_000

pytestmark = [
    pytest.mark.usefixtures("nothing_stays"),
    pytest.mark.on_ctranslate2(because="it is refused before an engine sees it"),
]


TEXT = sentences("en")[0]


def test_what_is_not_audio(strict_api: Api) -> None:
    junk = [b"hello", b"\x00" * 4000, b"RIFF\xff\xff\xff\xffWAVE", b"ID3" + b"\xff" * 100, b"OggS" + bytes(range(256))]
    for answer in in_flight(strict_api.post, junk):
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_audio"), answer.text
        assert answer.json()["error"]["param"] == "file"


def test_a_wav_without_samples(strict_api: Api) -> None:
    answer = strict_api.post(wav(silence(0)))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in {"invalid_audio", "audio_too_short"}


def test_a_header_that_promises_more_than_a_second_more(strict_api: Api) -> None:
    whole = wav(silence(5))
    answer = strict_api.post(whole[: len(whole) - 2 * 16_000 * 2])
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "invalid_audio")
    assert "5" in error["message"]
    assert "3" in error["message"]


def test_a_tenth_of_a_second_is_enough_and_less_is_too_short(strict_api: Api) -> None:
    speech = spoken("en", 0).samples
    enough = [silence(0.1), speech[:1600], speech[16_000:17_600]]
    answers = in_flight(lambda samples: strict_api.post(wav(samples)), enough)
    assert [answer.status_code for answer in answers] == [200] * 3
    assert answers[0].json()["text"] == ""
    short = strict_api.post(wav(speech[:1560]))
    assert (short.status_code, short.json()["error"]["code"]) == (400, "audio_too_short")


def test_samples_that_are_not_numbers(strict_api: Api) -> None:
    samples = np.concatenate([spoken("en", 0).samples, np.full(1600, np.nan, np.float32), [np.inf] * 1600])
    data = samples.astype("<f4").tobytes()
    header = (
        b"RIFF"
        + struct.pack("<I", 36 + len(data))
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 3, 1, 16000, 64000, 4, 32)
    )
    answer = strict_api.post(header + b"data" + struct.pack("<I", len(data)) + data)
    assert answer.status_code in {200, 400}
    if answer.status_code == 200:
        assert word_errors([TEXT], [answer.json()["text"]]).n_edits <= 3
    else:
        assert answer.json()["error"]["code"] == "invalid_audio"


def test_hours_of_sound_in_a_small_file(strict_api: Api, tmp_path: Path) -> None:
    """An hour of silence as flac is a few kilobytes; MAX_DECODED_SECONDS is ten minutes here."""
    path = tmp_path / "hour.flac"
    soundfile.write(path, silence(3600), 16_000)
    assert path.stat().st_size < MAX_UPLOAD_BYTES
    begin_s = time.monotonic()
    answer = strict_api.post(path.read_bytes())
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "audio_too_long")
    assert time.monotonic() - begin_s < 15 * SLOW

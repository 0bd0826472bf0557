"""Recordings in every container that OpenAI names, whole and cut off, over HTTP: the words, or a refusal that says why."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import soxr

from audio_kit import files
from audio_kit.signals import Signal
from server_kit.api import Api
from server_kit.process import StartServer
from speech_kit.scores import normalised, word_errors
from speech_kit.sentences import spoken
from suite_kit.slow import IN_SHORT

Encode = Callable[[Signal, int], bytes]
pytestmark = pytest.mark.on_ctranslate2(because="files are decoded before an engine hears them")


@dataclass(frozen=True)
class Kind:
    """How a recording is written."""

    encode: Encode
    rate_hz: int = 16_000
    n_channels: int = 1
    most_edits: int = 1


def _pcm(subtype: str) -> Encode:
    return lambda signal, rate_hz: files.wav(signal, rate_hz, subtype)


def _encoded(container: str, codec: str, **options: str) -> Encode:
    return lambda signal, rate_hz: files.by_ffmpeg(signal, rate_hz, container, codec, options=options)


KINDS = {
    # The demo model has not learnt telephone speech: it makes the same words of the same band at 16 kHz.
    "wav, 16 bit, 8 kHz": Kind(_pcm("PCM_16"), 8_000, most_edits=6),
    "wav, 24 bit, 44.1 kHz, stereo": Kind(_pcm("PCM_24"), 44_100, 2),
    "wav, 32 bit, 48 kHz": Kind(_pcm("PCM_32"), 48_000),
    "wav, float, 22.05 kHz, stereo": Kind(_pcm("FLOAT"), 22_050, 2),
    "flac, 48 kHz, stereo": Kind(_encoded("flac", "flac"), 48_000, 2),
    "mp3, 44.1 kHz, stereo": Kind(_encoded("mp3", "libmp3lame"), 44_100, 2),
    "mp3, 16 kHz": Kind(_encoded("mp3", "libmp3lame")),
    "ogg, opus, 48 kHz": Kind(_encoded("ogg", "libopus"), 48_000),
    "ogg, vorbis": Kind(lambda signal, rate_hz: files.by_libsndfile(signal, rate_hz, "OGG", "VORBIS"), 32_000),
    "m4a, 44.1 kHz, stereo": Kind(_encoded("ipod", "aac"), 44_100, 2),
    "mp4, index first": Kind(_encoded("mp4", "aac", movflags="faststart"), 48_000),
    "webm, opus, 48 kHz": Kind(_encoded("webm", "libopus"), 48_000),
}
DECLARE_THEIR_LENGTH = ("wav", "flac", "m4a", "mp4")
UTTERANCE = spoken("en", 0)


def _written(kind: Kind) -> bytes:
    resampled = soxr.resample(UTTERANCE.samples, 16_000, kind.rate_hz)
    return kind.encode(np.repeat(resampled[:, None], kind.n_channels, axis=1), kind.rate_hz)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_is_transcribed(api: Api, kind: str) -> None:
    answer = api.verbose(_written(KINDS[kind]))
    assert word_errors([UTTERANCE.text], [answer["text"]]).n_edits <= KINDS[kind].most_edits
    assert answer["duration"] == pytest.approx(UTTERANCE.duration_s, abs=0.15)


@pytest.mark.usefixtures("nothing_stays")
@pytest.mark.parametrize("kind", KINDS)
def test_half_a_file_is_refused_or_transcribed_to_its_end(strict_api: Api, kind: str) -> None:
    """Where the header tells the length, the missing half is known; streams are as long as what came of them."""
    content = _written(KINDS[kind])
    answer = strict_api.post(content[: len(content) // 2])
    if kind.startswith(DECLARE_THEIR_LENGTH):
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_audio"), answer.text
    else:
        assert answer.status_code == 200, answer.text
        heard = normalised(answer.json()["text"])
        assert heard[:2] == normalised(UTTERANCE.text)[:2]
        assert len(heard) < len(normalised(UTTERANCE.text))


def test_25_megabytes_of_opus_that_last_for_hours_are_refused_and_others_served(
    start_server: StartServer, clip: bytes, figure: Callable[[str], None]
) -> None:
    """It is decoded as far as MAX_DECODED_SECONDS and then refused. Before a release with the four hours that ship."""
    content = files.hours_of_noise(n_bytes=25_000_000)
    max_s = 3600 if IN_SHORT else 14400
    with start_server({"MAX_DECODED_SECONDS": str(max_s)} if IN_SHORT else {}) as server:
        api = Api(server.url)
        begin_s = time.monotonic()
        answer = api.post(content)
        took_s = time.monotonic() - begin_s
        figure(f"25 MB of opus that last for hours: refused after {took_s:.0f} s")
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, "audio_too_long", "file")
        assert f"MAX_DECODED_SECONDS is {max_s} s" in error["message"]
        assert word_errors([UTTERANCE.text], [api.text(clip)]).n_edits <= 1
        assert api.metric("whisper_memory_reserved_bytes") == 0
        api.close()

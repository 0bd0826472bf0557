"""What bad input gets: a refusal that says what is wrong, never a crash, never more memory than the file is worth."""

from __future__ import annotations

import random
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from audio_kit import files
from audio_kit.decoding import decoded
from audio_kit.signals import best_match, expected, sweep
from whisper_server.audio.limits import DecoderLimits
from whisper_server.errors import AudioTooLong, AudioTooShort, InvalidAudio

DURATION_S = 6.0
FASTSTART = {"movflags": "faststart"}


@cache
def sample(name: str) -> bytes:
    signal = sweep(DURATION_S, 16_000)
    match name:
        case "wav":
            return files.wav(signal, 16_000)
        case "vorbis":
            return files.by_libsndfile(sweep(30, 16_000), 16_000, "OGG", "VORBIS")
        case "m4a":
            return files.by_ffmpeg(signal, 16_000, "ipod", "aac")
        case "m4a-index-first":
            return files.by_ffmpeg(signal, 16_000, "ipod", "aac", options=FASTSTART)
        case "mov-index-first":
            return files.by_ffmpeg(signal, 16_000, "mov", "pcm_s16le", options=FASTSTART)
        case _:
            container, codec = {
                "flac": ("flac", "flac"),
                "aiff": ("aiff", "pcm_s16be"),
                "mp3": ("mp3", "libmp3lame"),
                "opus": ("ogg", "libopus"),
                "webm": ("webm", "libopus"),
                "mkv": ("matroska", "aac"),
                "adts": ("adts", "aac"),
                "mpegts": ("mpegts", "aac"),
            }[name]
            return files.by_ffmpeg(signal, 16_000, container, codec)


DECLARE_THEIR_LENGTH = ["wav", "flac", "aiff", "m4a-index-first", "mov-index-first"]
DO_NOT = ["mp3", "opus", "vorbis", "webm", "mkv", "adts", "mpegts"]


@pytest.mark.parametrize("name", DECLARE_THEIR_LENGTH)
@pytest.mark.parametrize("part", [0.2, 0.5, 0.8])
def test_a_file_that_lacks_more_than_a_second_is_refused_with_both_lengths(name: str, part: float) -> None:
    content = sample(name)
    with pytest.raises(InvalidAudio, match=r"header declares 6\.0 s of audio, but it holds [0-5]\.[0-9] s"):
        decoded(content[: round(len(content) * part)])


@pytest.mark.parametrize("name", DECLARE_THEIR_LENGTH)
def test_a_file_that_lacks_less_than_a_second_is_read(name: str) -> None:
    content = sample(name)
    heard = decoded(content[: round(len(content) * 0.9)])
    assert 5.0 <= len(heard) / 16_000 < 5.9
    assert best_match(heard, expected(DURATION_S))[0] > 0.99


@pytest.mark.parametrize("name", DO_NOT)
@pytest.mark.parametrize("part", [0.5, 0.8])
def test_a_cut_file_of_undeclared_length_is_read_to_its_end(name: str, part: float) -> None:
    content = sample(name)
    heard = decoded(content[: round(len(content) * part)])
    whole_s = 30 if name == "vorbis" else DURATION_S
    assert (part - 0.35) * whole_s < len(heard) / 16_000 < (part + 0.2) * whole_s
    assert best_match(heard, expected(whole_s), max_shift_s=0.2)[0] > 0.98


def test_an_mp4_whose_index_was_at_the_missing_end_is_refused() -> None:
    content = sample("m4a")
    with pytest.raises(InvalidAudio, match="complete"):
        decoded(content[: len(content) // 2])


@pytest.mark.parametrize("name", [*DECLARE_THEIR_LENGTH, *DO_NOT, "m4a"])
@pytest.mark.parametrize("n_bytes", [1, 12, 64, 200, 400])
def test_the_first_bytes_alone_are_refused(name: str, n_bytes: int) -> None:
    with pytest.raises((InvalidAudio, AudioTooShort)):
        decoded(sample(name)[:n_bytes])


@pytest.mark.parametrize("name", [*DECLARE_THEIR_LENGTH, *DO_NOT, "m4a"])
def test_a_damaged_place_in_the_middle_is_skipped(name: str) -> None:
    content = bytearray(sample(name))
    middle = len(content) // 2
    content[middle : middle + 150] = random.Random(4).randbytes(150)
    heard = decoded(bytes(content))
    whole_s = 30 if name == "vorbis" else DURATION_S
    assert len(heard) / 16_000 > whole_s - 0.9
    start = round(whole_s * 0.3 * 16_000)
    assert best_match(heard[:start], expected(whole_s), max_shift_s=0.2)[0] > 0.95


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(200_000),
        b"Once upon a time there was a text.\n" * 1_000,
        b"PK\x03\x04" + random.Random(1).randbytes(100_000),
        b"\xff\xd8\xff\xe0\0\x10JFIF\0" + random.Random(2).randbytes(100_000),
        b"\x89PNG\r\n\x1a\n" + random.Random(3).randbytes(100_000),
        b"%PDF-1.4\n" + random.Random(4).randbytes(100_000),
        b"GIF89a" + bytes(1_000),
        b"RIFF\xff\xff\xff\xffWAVE",
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"OggS\0\x02" * 2_000,
        b"fLaC" + bytes(100),
        b"\x1aE\xdf\xa3" + bytes(100),
        Path("/bin/true").read_bytes(),
        *(random.Random(seed).randbytes(100_000) for seed in range(20)),
    ],
    ids=lambda content: repr(content[:8]),
)
def test_what_is_no_audio_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidAudio):
        decoded(content)


def test_a_video_without_sound_is_refused() -> None:
    with pytest.raises(InvalidAudio, match="no audio stream"):
        decoded(files.video_only("mp4"))


@pytest.mark.parametrize("address", ["{path}", "file:{path}", "file://{path}", "subfile,,start,0,end,0,,:{path}"])
@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:6.0,\n{address}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{address}'\n",
        "{address}",
        "[playlist]\nFile1={address}\nNumberOfEntries=1\n",
        (
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
            "<AdaptationSet mimeType='audio/wav'><Representation id='1' bandwidth='1'>"
            "<BaseURL>{address}</BaseURL></Representation></AdaptationSet></Period></MPD>"
        ),
    ],
)
def test_a_file_cannot_have_another_file_read(tmp_path: Path, playlist: str, address: str) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(sample("wav"))
    content = playlist.format(address=address.format(path=secret)).encode()
    with pytest.raises(InvalidAudio):
        decoded(content)
    with pytest.raises(InvalidAudio):
        decoded(content + bytes(4_096))


def test_a_quicktime_movie_that_refers_to_another_file_gets_nothing_of_it(tmp_path: Path) -> None:
    secret = tmp_path / "secret.mov"
    secret.write_bytes(sample("mov-index-first"))
    content = files.quicktime_with_external_data(sample("mov-index-first"), str(secret))
    with pytest.raises(InvalidAudio):
        decoded(content)


@pytest.mark.parametrize("data_bytes", [10**9, 192_000 + 64_000])
def test_a_wav_header_that_lies_is_refused(data_bytes: int) -> None:
    content = files.with_wav_sizes(sample("wav"), data_bytes=data_bytes)
    declared_s = data_bytes / 32_000
    with pytest.raises(InvalidAudio, match=rf"declares {declared_s:.1f} s of audio, but it holds 6\.0 s"):
        decoded(content)


def test_a_flac_header_that_lies_is_refused() -> None:
    with pytest.raises(InvalidAudio, match=r"declares 4294967\.3 s of audio, but it holds 6\.0 s"):
        decoded(files.with_flac_samples(sample("flac"), 2**36 - 1))


def test_a_header_that_states_less_than_there_is_wins() -> None:
    assert len(decoded(files.with_wav_sizes(sample("wav"), data_bytes=64_000))) == 32_000


@pytest.mark.parametrize("rate_hz", [0, 1, 999, 2_000_000])
def test_impossible_rates_are_refused(rate_hz: int) -> None:
    content = bytearray(sample("wav"))
    content[24:28] = rate_hz.to_bytes(4, "little")
    with pytest.raises((InvalidAudio, AudioTooLong)):
        decoded(bytes(content))


def test_impossible_channel_counts_are_refused() -> None:
    for n_channels in (0, 65_535):
        content = bytearray(sample("wav"))
        content[22:24] = n_channels.to_bytes(2, "little")
        with pytest.raises(InvalidAudio):
            decoded(bytes(content))


@pytest.mark.parametrize("n_samples", [0, 1, 800, 1_580])
def test_too_short(n_samples: int) -> None:
    content = files.wav(np.zeros((n_samples, 1), np.float32), 16_000)
    with pytest.raises(AudioTooShort if n_samples else InvalidAudio):
        decoded(content)


def test_a_tenth_of_a_second_is_enough() -> None:
    for rate_hz in (8_000, 11_025, 16_000, 44_100, 48_000):
        assert len(decoded(files.wav(sweep(0.1, rate_hz), rate_hz))) == pytest.approx(1_600, abs=1)


@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "opus", "m4a", "webm"])
def test_too_long_names_the_setting_that_binds(name: str) -> None:
    content = sample(name)
    assert len(decoded(content, DecoderLimits(max_audio_s=6))) >= 95_900
    with pytest.raises(AudioTooLong, match=r"MAX_AUDIO_SECONDS is 5\.5 s"):
        decoded(content, DecoderLimits(max_audio_s=5.5))
    with pytest.raises(AudioTooLong, match="MAX_DECODED_SECONDS is 4 s"):
        decoded(content, DecoderLimits(max_audio_s=5, max_decoded_s=4))
    with pytest.raises(AudioTooLong, match="MAX_AUDIO_SECONDS is 4 s"):
        decoded(content, DecoderLimits(max_audio_s=4, max_decoded_s=5))


def test_a_small_file_of_many_hours_costs_no_more_than_the_limit() -> None:
    content = files.hours_of_silence(hours=1) * 3
    assert len(content) < 2_000_000
    started_s = time.process_time()
    with pytest.raises(AudioTooLong, match="MAX_AUDIO_SECONDS is 60 s"):
        decoded(content, DecoderLimits(max_audio_s=60))
    assert time.process_time() - started_s < 1

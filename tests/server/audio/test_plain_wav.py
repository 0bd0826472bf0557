"""Plain wav files: read without FFmpeg, to the same samples; everything unusual is left to FFmpeg."""

from __future__ import annotations

import struct
from contextlib import closing

import numpy as np
import pytest

from audio_kit import files
from audio_kit.decoding import decoded, memory_file
from audio_kit.signals import sweep
from whisper_server.audio.audio_file import AudioFile
from whisper_server.audio.plain_wav import plain_wav
from whisper_server.audio.resample import resample
from whisper_server.audio.upload_reader import UploadReader
from whisper_server.whisper.transcript import Samples

RATES_HZ = (8_000, 11_025, 16_000, 44_100)


def by_ffmpeg(content: bytes) -> Samples:
    with memory_file(content) as file, closing(AudioFile.open(UploadReader(file.fileno()))) as recording:
        return np.concatenate(list(resample(recording.blocks())))


def is_plain(content: bytes) -> bool:
    with memory_file(content) as file:
        return plain_wav(UploadReader(file.fileno())) is not None


def with_chunk(content: bytes, name: bytes, body: bytes, *, at: int) -> bytes:
    """Another chunk at that place, and the RIFF's size with it."""
    chunk = name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    content = content[:at] + chunk + content[at:]
    return content[:4] + struct.pack("<I", len(content) - 8) + content[8:]


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_plain_wav_gives_the_same_samples_as_with_ffmpeg(rate_hz: int) -> None:
    content = files.wav(sweep(3.3, rate_hz), rate_hz)
    assert is_plain(content)
    np.testing.assert_array_equal(decoded(content), by_ffmpeg(content))


def test_chunks_around_the_samples_change_nothing() -> None:
    content = files.wav(sweep(1.2, 16_000), 16_000)
    between = with_chunk(content, b"LIST", b"INFOIART\5\0\0\0\0abc\0", at=36)
    around = with_chunk(between, b"id3 ", b"odd", at=len(between))
    assert is_plain(around)
    np.testing.assert_array_equal(decoded(around), decoded(content))
    np.testing.assert_array_equal(decoded(around), by_ffmpeg(around))


@pytest.mark.parametrize("subtype", ["PCM_24", "PCM_U8", "FLOAT", "ULAW", "IMA_ADPCM"])
def test_other_samples_are_left_to_ffmpeg(subtype: str) -> None:
    assert not is_plain(files.wav(sweep(1.0, 16_000), 16_000, subtype))


def test_what_is_unusual_is_left_to_ffmpeg() -> None:
    mono = files.wav(sweep(1.0, 16_000), 16_000)
    assert not is_plain(files.wav(sweep(1.0, 16_000, n_channels=2), 16_000))
    assert not is_plain(files.by_libsndfile(sweep(1.0, 16_000), 16_000, "WAVEX", "PCM_16"))
    assert not is_plain(b"RIFX" + mono[4:])
    assert not is_plain(mono[:-2]), "cut off"
    assert not is_plain(files.with_wav_sizes(mono, data_bytes=0)), "streamed"
    assert not is_plain(files.with_wav_sizes(mono, data_bytes=len(mono) - 45)), "half a sample"
    assert not is_plain(with_chunk(mono, b"data", bytes(32_000), at=len(mono))), "two parts"
    assert not is_plain(mono[:24] + struct.pack("<I", 500) + mono[28:]), "a rate that is refused"
    assert not is_plain(mono[:12]), "nothing in it"

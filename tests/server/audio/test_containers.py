"""Every container × rate × channels × sample type that clients send: the right length, the right sound."""

from __future__ import annotations

import numpy as np
import pytest

from audio_kit import files
from audio_kit.decoding import decoded
from audio_kit.signals import best_match, expected, sweep
from whisper_server.errors import InvalidAudio

DURATION_S = 1.1
RATES_HZ = (8_000, 11_025, 16_000, 22_050, 44_100, 48_000)
OPUS_RATES_HZ = (8_000, 16_000, 24_000, 48_000)


def check(
    content: bytes,
    *,
    n_channels: int = 1,
    correlation: float,
    gain: float = 0.02,
    shift_s: float = 0.01,
    padding_s: float = 0.05,
) -> None:
    heard = decoded(content)
    assert heard.dtype == np.float32
    assert heard.ndim == 1
    assert np.abs(heard).max() <= 1
    assert len(heard) / 16_000 == pytest.approx(DURATION_S, abs=padding_s)
    match, found_shift_s, found_gain = best_match(heard, expected(DURATION_S, n_channels=n_channels))
    assert match > correlation
    assert abs(found_shift_s) <= shift_s
    assert found_gain == pytest.approx(1, abs=gain)


@pytest.mark.parametrize("rate_hz", [*RATES_HZ, 192_000])
@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("WAV", "PCM_32"),
        ("WAV", "FLOAT"),
        ("FLAC", "PCM_16"),
        ("FLAC", "PCM_24"),
    ],
)
def test_pcm_is_exact(container: str, subtype: str, n_channels: int, rate_hz: int) -> None:
    content = files.by_libsndfile(sweep(DURATION_S, rate_hz, n_channels=n_channels), rate_hz, container, subtype)
    check(content, n_channels=n_channels, correlation=0.9995)


@pytest.mark.parametrize("rate_hz", [11_025, 48_000])
@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "PCM_U8"),
        ("WAV", "DOUBLE"),
        ("WAV", "ULAW"),
        ("WAV", "ALAW"),
        ("WAVEX", "PCM_24"),
        ("RF64", "PCM_16"),
        ("W64", "PCM_16"),
        ("AIFF", "PCM_24"),
        ("AU", "PCM_16"),
        ("CAF", "PCM_16"),
    ],
)
def test_rarer_kinds_of_pcm(container: str, subtype: str, n_channels: int, rate_hz: int) -> None:
    content = files.by_libsndfile(sweep(DURATION_S, rate_hz, n_channels=n_channels), rate_hz, container, subtype)
    check(content, n_channels=n_channels, correlation=0.998)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize(
    ("container", "codec"),
    [("mp3", "libmp3lame"), ("mp4", "aac"), ("ipod", "alac"), ("mov", "pcm_s24le"), ("ogg", "flac")],
)
def test_encoded(container: str, codec: str, n_channels: int, rate_hz: int) -> None:
    content = files.by_ffmpeg(sweep(DURATION_S, rate_hz, n_channels=n_channels), rate_hz, container, codec)
    # LAME turns everything down to 95 %; AAC's last frame is padded to 1,024 samples, and no player cuts it.
    padding_s = max(0.05, 1_024 / rate_hz) if codec == "aac" else 0.05
    check(content, n_channels=n_channels, correlation=0.99, gain=0.06, padding_s=padding_s)


@pytest.mark.parametrize("rate_hz", OPUS_RATES_HZ)
@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize("container", ["ogg", "webm", "matroska", "mp4"])
def test_opus(container: str, n_channels: int, rate_hz: int) -> None:
    content = files.by_ffmpeg(sweep(DURATION_S, rate_hz, n_channels=n_channels), rate_hz, container, "libopus")
    check(content, n_channels=n_channels, correlation=0.995)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("n_channels", [1, 2])
def test_vorbis(n_channels: int, rate_hz: int) -> None:
    content = files.by_libsndfile(sweep(DURATION_S, rate_hz, n_channels=n_channels), rate_hz, "OGG", "VORBIS")
    check(content, n_channels=n_channels, correlation=0.99)


@pytest.mark.parametrize(
    ("container", "codec"), [("adts", "aac"), ("mpegts", "aac"), ("mpegts", "mp2"), ("avi", "libmp3lame")]
)
def test_containers_that_do_not_tell_the_encoders_padding(container: str, codec: str) -> None:
    check(
        files.by_ffmpeg(sweep(DURATION_S, 48_000), 48_000, container, codec), correlation=0.98, gain=0.1, shift_s=0.04
    )


def test_six_channels_are_averaged() -> None:
    content = files.wav(sweep(DURATION_S, 48_000, n_channels=6), 48_000, "PCM_24")
    check(content, n_channels=6, correlation=0.9995)


@pytest.mark.parametrize("n_channels", [7, 8, 9, 16, 64])
def test_many_channels_are_averaged(n_channels: int) -> None:
    many = np.repeat(sweep(DURATION_S, 16_000), n_channels, axis=1)
    check(files.by_libsndfile(many, 16_000, "OGG", "VORBIS"), correlation=0.99)
    check(files.wav(many, 16_000), correlation=0.999)


def test_more_channels_than_can_be_mixed_are_refused() -> None:
    many = np.repeat(sweep(DURATION_S, 16_000), 100, axis=1)
    with pytest.raises(InvalidAudio, match="100 channels"):
        decoded(files.by_libsndfile(many, 16_000, "OGG", "VORBIS"))


@pytest.mark.parametrize(
    "content",
    [
        files.by_ffmpeg(sweep(DURATION_S, 48_000), 48_000, "webm", "libopus", options={"live": "1"}, seekable=False),
        files.by_ffmpeg(sweep(DURATION_S, 16_000), 16_000, "wav", "pcm_s16le", seekable=False),
        files.by_ffmpeg(sweep(DURATION_S, 16_000), 16_000, "flac", "flac", seekable=False),
        files.with_wav_sizes(files.wav(sweep(DURATION_S, 16_000), 16_000), data_bytes=0),
        files.with_wav_sizes(files.wav(sweep(DURATION_S, 16_000), 16_000), data_bytes=0xFFFF_FFFF),
        files.with_wav_sizes(files.wav(sweep(DURATION_S, 16_000), 16_000), data_bytes=0x7FFF_F000),
        files.with_flac_samples(files.by_ffmpeg(sweep(DURATION_S, 16_000), 16_000, "flac", "flac"), 0),
    ],
    ids=["webm", "wav", "flac", "wav-0", "wav-ffffffff", "wav-sox", "flac-0"],
)
def test_streamed_files_of_unknown_length_are_read_to_their_end(content: bytes) -> None:
    check(content, correlation=0.995)


def test_mp4_with_its_index_first_and_in_fragments() -> None:
    signal = sweep(DURATION_S, 44_100)
    check(files.by_ffmpeg(signal, 44_100, "mp4", "aac", options={"movflags": "faststart"}), correlation=0.99)
    fragmented = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "300000"}
    check(files.by_ffmpeg(signal, 44_100, "mp4", "aac", options=fragmented), correlation=0.98, shift_s=0.03)


def test_the_audio_beside_a_picture_is_read() -> None:
    for container in ("mp4", "matroska", "avi"):
        content = files.with_video(sweep(DURATION_S, 48_000), 48_000, container)
        check(content, correlation=0.98, gain=0.1, shift_s=0.04)


def test_mp3_with_tags_and_a_cover() -> None:
    cover = bytes(range(256)) * 400
    picture = b"\0image/jpeg\0\x03\0" + cover
    frame = b"APIC" + len(picture).to_bytes(4, "big") + b"\0\0" + picture
    title = b"TIT2\0\0\0\x06\0\0\0\xff\xfe\xfd\xfc\xfb"  # not in the encoding that it declares
    size = len(frame) + len(title)
    tag = b"ID3\x03\0\0" + bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0)) + title + frame
    check(tag + files.by_ffmpeg(sweep(DURATION_S, 44_100), 44_100, "mp3", "libmp3lame"), correlation=0.99, gain=0.06)


def test_samples_that_are_no_numbers_are_silence_and_loud_ones_are_clipped() -> None:
    signal = sweep(DURATION_S, 16_000)
    signal[4_000:4_100] = np.nan
    signal[5_000] = np.inf
    signal[6_000:6_010] = 7
    for subtype in ("FLOAT", "DOUBLE"):
        heard = decoded(files.wav(signal, 16_000, subtype))
        assert np.all(heard[4_000:4_100] == 0)
        assert heard[5_000] == 0
        assert np.all(heard[6_000:6_010] == 1)
        assert np.allclose(heard[:4_000], signal[:4_000, 0], atol=1e-6)
        resampled = decoded(files.wav(signal, 24_000, subtype))
        assert np.isfinite(resampled).all()
        assert np.abs(resampled).max() <= 1


def test_full_scale_square_wave_stays_within_bounds_after_resampling() -> None:
    square = np.sign(np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)).astype(np.float32)[:, None]
    heard = decoded(files.wav(square, 48_000, "FLOAT"))
    assert np.abs(heard).max() == 1


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT"])
def test_channels_in_opposite_phase_do_not_cancel(subtype: str) -> None:
    mono = sweep(DURATION_S, 16_000)
    check(files.wav(np.hstack([mono, -0.98 * mono]), 16_000, subtype), correlation=0.99)


def test_speaker_on_one_channel_survives_hum_in_opposite_phase() -> None:
    """The first second hums in opposite phase, the second one has a speaker on the quieter channel alone."""
    hum = 0.05 * np.sin(2 * np.pi * 50 * np.arange(16_000) / 16_000).astype(np.float32)[:, None]
    speaker = sweep(1, 16_000)
    signal = np.vstack([np.hstack([hum, -0.9 * hum]), np.hstack([0 * speaker, speaker])])
    heard = decoded(files.wav(signal, 16_000))
    assert best_match(heard[16_000:], speaker[:, 0])[0] > 0.99
    assert np.abs(heard[16_000:]).max() == pytest.approx(np.abs(speaker).max() / 2, rel=0.05)


@pytest.mark.parametrize("container", ["matroska", "mp4"])
def test_track_with_sound_is_read_where_the_first_is_silent(container: str) -> None:
    signal = sweep(DURATION_S, 48_000)
    check(files.with_tracks([0 * signal, signal], 48_000, container), correlation=0.98, gain=0.1, shift_s=0.04)
    check(files.with_tracks([signal, 0.1 * signal], 48_000, container), correlation=0.98, gain=0.1, shift_s=0.04)


def test_file_of_silent_tracks_is_silence() -> None:
    silence = np.zeros((17_600, 1), np.float32)
    assert not decoded(files.with_tracks([silence, silence], 16_000, "matroska")).any()


@pytest.mark.parametrize("n_bytes", [42, 36, 8])
def test_placeholder_size_of_wav_is_ignored(n_bytes: int) -> None:
    content = files.with_wav_sizes(files.wav(sweep(DURATION_S, 16_000), 16_000), data_bytes=n_bytes)
    check(content, correlation=0.999)


@pytest.mark.parametrize("n_tag_bytes", [0, 200, 70_000])
def test_id3_tag_before_riff_is_skipped(n_tag_bytes: int) -> None:
    size = bytes((n_tag_bytes >> shift) & 0x7F for shift in (21, 14, 7, 0))
    tag = b"ID3\x03\0\0" + size + bytes(n_tag_bytes)
    check(tag + files.wav(sweep(DURATION_S, 16_000), 16_000), correlation=0.999)

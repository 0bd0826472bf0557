"""Raw formats: PCM of 24 kHz, μ-law and A-law of 8 kHz, in pieces that are cut anywhere."""

from __future__ import annotations

import numpy as np
import pytest

from whisper_server.audio.live_samples import LiveSamples, RawFormat, duration_s

TONE = np.sin(2 * np.pi * 440 * np.arange(24_000) / 24_000).astype(np.float32) / 2


def pcm() -> bytes:
    return (TONE * 32767).astype("<i2").tobytes()


def test_pcm_becomes_16_khz() -> None:
    samples = LiveSamples(RawFormat.PCM).add(pcm())
    assert 15_500 < len(samples) <= 16_000
    middle = samples[4000:12_000]
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.01)


def test_sound_may_be_cut_within_a_sample() -> None:
    whole, cut = LiveSamples(RawFormat.PCM), LiveSamples(RawFormat.PCM)
    data = pcm()
    pieces = [cut.add(data[first : first + 777]) for first in range(0, len(data), 777)]
    joined, at_once = np.concatenate(pieces), whole.add(data)
    n = min(len(joined), len(at_once))
    assert n > 15_000
    assert np.allclose(joined[:n], at_once[:n], atol=1e-4)


def test_g711_has_the_values_of_the_standard() -> None:
    from whisper_server.audio.live_samples import _ALAW, _ULAW

    assert (_ULAW[[0xFF, 0x7F, 0x80, 0x00]] * 2**15).tolist() == [0, 0, 32124, -32124]
    assert (_ALAW[[0xD5, 0x55, 0xAA, 0x2A]] * 2**15).tolist() == [8, -8, 32256, -32256]


@pytest.mark.parametrize("raw_format", [RawFormat.PCMU, RawFormat.PCMA])
def test_telephone_sound_becomes_16_khz(raw_format: RawFormat) -> None:
    silence = bytes([0xFF if raw_format is RawFormat.PCMU else 0xD5]) * 8000
    stream = LiveSamples(raw_format)
    samples = stream.add(silence)
    samples = np.concatenate([samples, stream.flush()])
    assert len(samples) == 16_000
    assert np.abs(samples).max() < 0.001


def test_duration_follows_the_format() -> None:
    assert (duration_s(48_000, RawFormat.PCM), duration_s(8000, RawFormat.PCMU)) == (1.0, 1.0)

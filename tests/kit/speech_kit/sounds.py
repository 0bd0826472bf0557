"""Sounds without speech, and functions that combine sounds. All are seeded, mono, 16 kHz."""

from __future__ import annotations

import io
import wave

import numpy as np
import numpy.typing as npt

from speech_kit.espeak import SAMPLE_RATE_HZ, Samples

Sound = npt.NDArray[np.float64]


def silence(duration_s: float) -> Samples:
    return np.zeros(round(duration_s * SAMPLE_RATE_HZ), np.float32)


def white_noise(duration_s: float, *, rms: float = 0.05, seed: int = 0) -> Samples:
    samples = np.random.default_rng(seed).standard_normal(round(duration_s * SAMPLE_RATE_HZ))
    return (samples * rms).astype(np.float32)


def tone(duration_s: float, *, frequency_hz: float = 440.0, peak: float = 0.3) -> Samples:
    return (peak * np.sin(2 * np.pi * frequency_hz * _seconds(duration_s))).astype(np.float32)


def mains_hum(duration_s: float, *, frequency_hz: float = 50.0, peak: float = 0.2) -> Samples:
    """The mains frequency with harmonics, as from a bad cable."""
    at_s = _seconds(duration_s)
    hum = sum(np.sin(2 * np.pi * frequency_hz * n * at_s + n) / n for n in range(1, 9))
    return _scaled(np.asarray(hum), peak)


def chords(duration_s: float, *, seed: int = 0, peak: float = 0.4) -> Samples:
    """Major and minor chords of 1 s each, six harmonics per note, with decay."""
    rng = np.random.default_rng(seed)
    out = np.zeros(round(duration_s * SAMPLE_RATE_HZ))
    for start in range(0, len(out), SAMPLE_RATE_HZ):
        root_hz = 110 * 2 ** (rng.integers(0, 24) / 12)
        third = int(rng.choice([3, 4]))
        for semitones in (0, third, 7):
            _add(out, start, _note(root_hz * 2 ** (semitones / 12), 1.0))
    return _scaled(out, peak)


def arpeggio_with_drums(duration_s: float, *, seed: int = 0, peak: float = 0.5) -> Samples:
    """Eight notes per second, a kick on every beat and a noise snare on every second beat."""
    rng = np.random.default_rng(seed)
    out = np.zeros(round(duration_s * SAMPLE_RATE_HZ))
    scale = (0, 3, 5, 7, 10, 12, 15, 17)
    for index, start in enumerate(range(0, len(out), SAMPLE_RATE_HZ // 8)):
        _add(out, start, _note(220 * 2 ** (scale[int(rng.integers(len(scale)))] / 12), 0.4))
        if index % 4 == 0:
            at_s = _seconds(0.2)
            _add(out, start, 1.5 * np.sin(2 * np.pi * 60 * at_s) * np.exp(-at_s * 20))
        if index % 8 == 4:
            _add(out, start, rng.standard_normal(2400) * np.exp(-np.arange(2400) / 500))
    return _scaled(out, peak)


def with_noise(samples: Samples, *, snr_db: float, seed: int = 0) -> Samples:
    """`samples` plus white noise at `snr_db` below their mean power."""
    rms = float(np.sqrt(np.mean(samples**2))) * 10 ** (-snr_db / 20)
    return samples + white_noise(len(samples) / SAMPLE_RATE_HZ, rms=rms, seed=seed)[: len(samples)]


def wav(samples: Samples, *, rate_hz: int = SAMPLE_RATE_HZ) -> bytes:
    """A wav file of 16-bit samples."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def _seconds(duration_s: float) -> Sound:
    return np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ


def _note(frequency_hz: float, duration_s: float) -> Sound:
    at_s = _seconds(duration_s)
    note = sum(np.sin(2 * np.pi * frequency_hz * n * at_s) / n**1.5 for n in range(1, 7))
    return np.asarray(note * np.minimum(1, at_s / 0.01) * np.exp(-at_s * 3))


def _add(out: Sound, start: int, sound: Sound) -> None:
    end = min(len(out), start + len(sound))
    out[start:end] += sound[: end - start]


def _scaled(samples: Sound, peak: float) -> Samples:
    scaled: Samples = (samples * peak / np.abs(samples).max()).astype(np.float32)
    return scaled

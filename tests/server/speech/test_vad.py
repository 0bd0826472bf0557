"""The voice detector detects speech, but not noise, hum or music; its spans and blocks are exact."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from speech_kit.espeak import Voice, speak
from speech_kit.recordings import join
from speech_kit.sentences import LANGUAGES, spoken
from speech_kit.sounds import (
    arpeggio_with_drums,
    chords,
    mains_hum,
    silence,
    tone,
    white_noise,
    with_noise,
)
from suite_kit.slow import IN_SHORT
from whisper_server.errors import StartError
from whisper_server.speech.vad import FRAME_SAMPLES, MODEL_PATH, VoiceDetector, run_step
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Samples, VoiceActivity

RATE = SAMPLE_RATE_HZ
SHORT_WORDS = {
    "en-us": ("Yes.", "No.", "Up.", "It.", "Go.", "Six."),
    "de": ("Ja.", "Ich.", "Gut."),
    "es": ("Sí.", "Tres."),
    "ru": ("Да.", "Нет."),
}


@pytest.fixture(scope="module")
def detector() -> VoiceDetector:
    return VoiceDetector()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("snr_db", [None, 10.0, 3.0])
def test_sentences_are_speech(detector: VoiceDetector, language: str, snr_db: float | None) -> None:
    for index in range(8 if IN_SHORT else 16):
        samples = spoken(language, index).samples
        noisy = samples if snr_db is None else with_noise(samples, snr_db=snr_db, seed=index)
        assert detector.has_speech(noisy), index


@pytest.mark.parametrize("peak", [1e-3, 0.03, 0.3, 1.0, 20.0])
def test_speech_is_detected_at_any_level(detector: VoiceDetector, peak: float) -> None:
    for index in range(8):
        assert detector.has_speech(spoken("en", index).samples * np.float32(peak / 0.9)), index


@pytest.mark.parametrize("lead", [silence(0), silence(4), chords(4)], ids=["none", "silence", "chords"])
def test_first_speech_is_where_it_begins(detector: VoiceDetector, lead: Samples) -> None:
    first = detector.first_speech(np.concatenate([lead, spoken("en", 0).samples]))
    assert first is not None
    assert len(lead) / RATE - 0.1 <= first / RATE <= len(lead) / RATE + 0.6


def test_sound_without_speech_has_no_first_speech(detector: VoiceDetector) -> None:
    assert detector.first_speech(mains_hum(4)) is None
    assert detector.first_speech(silence(0)) is None


@pytest.mark.parametrize(("voice", "word"), [(voice, word) for voice, words in SHORT_WORDS.items() for word in words])
@pytest.mark.parametrize("variant", ["", "+m2", "+f2"])
def test_single_short_word_is_speech(detector: VoiceDetector, voice: str, word: str, variant: str) -> None:
    samples = speak(word, Voice(voice + variant, words_per_minute=200)).samples
    assert detector.has_speech(samples)
    for before_s in (0.2, 3.3, 14.0):  # without resets the model misses words after long silence
        assert detector.has_speech(np.concatenate([silence(before_s), samples, silence(14)])), before_s
    assert len(detector.speech_spans(np.concatenate([silence(1), samples, silence(1)]))) == 1


LONG_S = 10 if IN_SHORT else 30
NOT_SPEECH: dict[str, Callable[[int], Samples]] = {
    "silence": lambda _: silence(LONG_S),
    "white noise": lambda seed: white_noise(LONG_S, rms=(0.0001, 0.01, 0.05, 0.2)[seed % 4], seed=seed),
    "tone": lambda seed: tone(LONG_S, frequency_hz=(60, 100, 150, 200, 300, 440, 1000, 3000)[seed]),
    "short tone": lambda seed: np.concatenate([silence(1), tone(0.5, frequency_hz=100 + 100 * seed), silence(1)]),
    "mains hum": lambda seed: mains_hum(LONG_S, frequency_hz=(50, 60)[seed % 2], peak=(0.01, 0.1, 0.3, 0.8)[seed // 2]),
    "chords": lambda seed: chords(LONG_S, seed=seed),
    "clicks": lambda seed: (np.random.default_rng(seed).random(LONG_S * RATE) < 1e-4).astype(np.float32),
    "square wave": lambda seed: np.sign(tone(LONG_S, frequency_hz=50 + 40 * seed)) * np.float32(0.2),
}


@pytest.mark.parametrize("name", NOT_SPEECH)
def test_other_sounds_are_not_speech(detector: VoiceDetector, name: str) -> None:
    for seed in range(0, 8, 3 if IN_SHORT else 1):
        samples = NOT_SPEECH[name](seed)
        assert not detector.has_speech(samples), seed
        assert detector.speech_spans(samples) == (), seed


def test_arpeggio_with_drums_is_rarely_speech(detector: VoiceDetector) -> None:
    """Silero detects speech in 2 of 100 of these recordings of 30 s, seed 7 among them."""
    assert sum(detector.has_speech(arpeggio_with_drums(30, seed=seed)) for seed in range(12)) <= 1


def test_spans_follow_sentences_of_recording(detector: VoiceDetector) -> None:
    utterances = [spoken("en", index) for index in range(12)]
    recording = join(utterances, pause_s=(1.0, 2.0), lead_in_s=1.0)

    spans = detector.speech_spans(recording.samples, VoiceActivity(silence_duration_ms=500, prefix_padding_ms=300))

    assert len(spans) == len(utterances)
    for (start, end), start_s, utterance in zip(spans, recording.starts_s, utterances, strict=True):
        assert start / RATE == pytest.approx(start_s - 0.3, abs=0.12)
        assert end / RATE == pytest.approx(start_s + utterance.duration_s + 0.5, abs=0.15)


def test_padding_and_silence_are_as_requested(detector: VoiceDetector) -> None:
    samples = np.concatenate([silence(2), spoken("en", 0).samples, silence(2)])
    ((bare_start, bare_end),) = detector.speech_spans(
        samples, VoiceActivity(silence_duration_ms=1000, prefix_padding_ms=0)
    )
    ((padded_start, padded_end),) = detector.speech_spans(
        samples, VoiceActivity(silence_duration_ms=1500, prefix_padding_ms=700)
    )
    assert bare_start - padded_start == 0.7 * RATE
    assert padded_end - bare_end == 0.5 * RATE


def test_shorter_silence_makes_more_disjoint_spans(detector: VoiceDetector) -> None:
    recording = join([spoken("de", index) for index in range(10)], pause_s=(0.3, 0.9))
    n_spans = []
    for silence_duration_ms in (0, 100, 400, 1200):
        spans = detector.speech_spans(
            recording.samples, VoiceActivity(silence_duration_ms=silence_duration_ms, prefix_padding_ms=0)
        )
        edges = [edge for span in spans for edge in span]
        assert edges == sorted(set(edges))
        assert edges[0] >= 0
        assert edges[-1] <= len(recording.samples)
        n_spans.append(len(spans))
    assert n_spans == sorted(n_spans, reverse=True)
    assert n_spans[1] >= 10
    assert n_spans[-1] == 1


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.3, 0.9])
def test_speech_is_detected_at_any_valid_threshold(detector: VoiceDetector, threshold: float) -> None:
    samples = np.concatenate([silence(1), spoken("en", 0).samples, silence(1)])
    assert detector.speech_spans(samples, VoiceActivity(threshold=threshold))


def test_threshold_of_1_detects_nothing(detector: VoiceDetector) -> None:
    assert detector.speech_spans(spoken("en", 0).samples, VoiceActivity(threshold=1.0)) == ()


def test_inference_in_steps_gives_same_spans(detector: VoiceDetector) -> None:
    recording = join([spoken("en", index) for index in range(24)], seed=4).samples
    steps, n_steps = detector.speech_span_steps(recording, VoiceActivity()), 1
    while (spans := run_step(steps)) is None:
        n_steps += 1
    assert spans == detector.speech_spans(recording)
    assert n_steps == 1 + len(recording) // (32 * 1024 * 16)


def test_one_probability_per_32_ms_is_returned(detector: VoiceDetector) -> None:
    for n_samples in (0, 1, FRAME_SAMPLES, FRAME_SAMPLES + 1, 10 * RATE):
        probabilities = detector.speech_probabilities(np.zeros(n_samples, np.float32))
        assert probabilities.shape == (-(-n_samples // FRAME_SAMPLES),)
        assert probabilities.dtype == np.float32


def test_word_across_block_edge_is_speech(detector: VoiceDetector) -> None:
    word = speak("Up.", Voice("en-us", words_per_minute=200)).samples
    edge = 64 * FRAME_SAMPLES
    for shift in range(-len(word), 1, FRAME_SAMPLES):
        samples = np.zeros(2 * edge, np.float32)
        samples[edge + shift : edge + shift + len(word)] = word
        assert detector.has_speech(samples), shift


def test_nan_samples_are_not_speech(detector: VoiceDetector) -> None:
    assert not detector.has_speech(np.full(RATE, np.nan, np.float32))
    assert detector.speech_spans(np.full(RATE, np.nan, np.float32)) == ()


def test_detector_is_thread_safe(detector: VoiceDetector) -> None:
    sounds = [spoken("en", index).samples for index in range(8)]
    expected = [detector.speech_spans(samples) for samples in sounds]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(detector.speech_spans, sounds * 4)) == expected * 4


def test_model_file_is_the_one_that_was_tested() -> None:
    sha256 = "4cbf549b8326f60f80f2536d9eefeb450a9abe83365a098031c89719f1be17d2"
    assert hashlib.sha256(MODEL_PATH.read_bytes()).hexdigest() == sha256
    assert "MIT License" in (MODEL_PATH.parent / "LICENSE").read_text()


def test_invalid_model_file_stops_start(tmp_path: Path) -> None:
    broken = tmp_path / "silero.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(StartError, match=r"silero\.onnx cannot be loaded"):
        VoiceDetector(broken)


def test_missing_model_file_is_named_at_start(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"missing\.onnx cannot be loaded"):
        VoiceDetector(tmp_path / "missing.onnx")

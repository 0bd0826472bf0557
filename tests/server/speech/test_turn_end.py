"""The end-of-turn detector: its file, its features, its refusal. `tests/real/test_turn_ends.py` has it on human voices."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from speech_kit.sentences import spoken
from whisper_server.errors import StartError
from whisper_server.speech.turn_end import MAX_SAMPLES, MODEL_PATH, TurnEndDetector
from whisper_server.whisper.transcript import Samples

PAUSE = np.zeros(4_800, np.float32)


def heard(*sounds: Samples) -> float:
    return TurnEndDetector().probability(np.concatenate(sounds))


def test_model_is_the_pinned_file() -> None:
    sha256 = "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f"
    assert hashlib.sha256(MODEL_PATH.read_bytes()).hexdigest() == sha256


def test_level_and_length_do_not_matter() -> None:
    features = TurnEndDetector().features
    turn = np.concatenate([spoken("en", 0).samples, PAUSE])
    loud = features(turn)
    assert loud.shape == (80, 800)
    assert loud.std() > 0.1
    assert np.abs(features(turn * np.float32(0.1)) - loud).max() < 0.001
    longer = np.tile(turn, MAX_SAMPLES // len(turn) + 2)
    assert np.array_equal(features(longer), features(longer[-MAX_SAMPLES:]))


@pytest.mark.parametrize("n_samples", [0, 1, 100])
def test_hardly_any_sound(n_samples: int) -> None:
    assert 0 <= heard(np.zeros(n_samples, np.float32)) <= 1


def test_broken_file_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "turn.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(StartError, match=r"turn\.onnx cannot be loaded"):
        TurnEndDetector(broken).probability(PAUSE)

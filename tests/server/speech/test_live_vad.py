"""The voice detector on sound that arrives in pieces hears what it hears in a file."""

from __future__ import annotations

import numpy as np
import pytest

from speech_kit.sentences import spoken
from whisper_server.speech.live_vad import VoiceStream
from whisper_server.speech.vad import VoiceDetector
from whisper_server.whisper.transcript import Samples


@pytest.fixture(scope="module")
def voice() -> VoiceDetector:
    return VoiceDetector()


@pytest.fixture(scope="module")
def sound() -> Samples:
    speech = spoken("en", 0).samples
    silence = np.zeros(16_000, np.float32)
    return np.concatenate([speech, silence, spoken("de", 1).samples, silence])


@pytest.mark.parametrize("n_samples", [160, 1600, 50_000])
def test_pieces_are_heard_as_the_whole(voice: VoiceDetector, sound: Samples, n_samples: int) -> None:
    stream = VoiceStream(voice)
    pieces = [stream.add(sound[first : first + n_samples]) for first in range(0, len(sound), n_samples)]
    probabilities = np.concatenate(pieces)
    whole = voice.speech_probabilities(sound)[: len(probabilities)]
    assert len(probabilities) == len(sound) // 512
    # The level of a whole recording is not known before its end.
    assert np.mean((probabilities > 0.5) == (whole > 0.5)) > 0.95


def test_silence_is_no_speech(voice: VoiceDetector) -> None:
    assert VoiceStream(voice).add(np.zeros(32_000, np.float32)).max() < 0.1
    noise = np.random.default_rng(0).normal(scale=0.003, size=64_000).astype(np.float32)
    assert VoiceStream(voice).add(noise).max() < 0.5

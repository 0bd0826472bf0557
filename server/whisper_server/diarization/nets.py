"""The nets on onnxruntime: the speakers of 10 s (pyannote's segmentation-3.0), and voiceprints (3D-Speaker's CAM++).

`nets/` has the files with their licences; `scripts/export_speaker_nets.py` wrote them. Only the diarizing process loads
this module.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from whisper_server.diarization.fbank import Features
from whisper_server.whisper.onnx_session import onnx_session
from whisper_server.whisper.transcript import Samples

NETS = Path(__file__).parent / "nets"
WINDOW_SAMPLES = 160_000
"""10 s, what segmentation-3.0 was trained on."""
FRAME_SAMPLES = 270
FIRST_FRAME_SAMPLE = 495
"""Middle of the first frame; each further one is 16.9 ms later."""
N_FRAMES = 589
N_LOCAL_VOICES = 3
"""segmentation-3.0 separates up to three voices of a window, two of them at a time."""
POSITION_SAMPLES = 320
"""CAM++ has an output every 20 ms."""
N_CHANNELS = 512
N_VALUES = 192
"""Of a voiceprint."""
_SPEAKING = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]], np.bool_)
"""The voices of each class of the net (powerset encoding: Plaquet and Bredin, Interspeech 2023)."""

Activity = npt.NDArray[np.bool_]
"""The speakers of each frame of a window, shape (N_FRAMES, N_LOCAL_VOICES)."""
Positions = npt.NDArray[np.float32]
"""Outputs of CAM++ before its statistics, shape (N_CHANNELS, n_positions)."""
Voiceprints = npt.NDArray[np.float32]
"""Of unit length, shape (n_voices, 192)."""


class SpeakerNets:
    """The loaded nets; one thread computes."""

    def __init__(self, folder: Path = NETS) -> None:
        self._segmentation = onnx_session(folder / "segmentation_3_0.onnx", "speakers'")
        self._positions = onnx_session(folder / "campplus_positions.onnx", "speakers'")
        self._voiceprints = onnx_session(folder / "campplus_voiceprints.onnx", "speakers'")
        self._mean = np.load(folder / "voiceprint_mean.npy")
        """Of ten voices: subtracted, voiceprints of different speakers are about orthogonal (cosine 0.55 before)."""

    def activity(self, window: Samples) -> Activity:
        """The speakers of each frame of 10 s; a shorter window is padded with silence."""
        padded = np.zeros((1, 1, WINDOW_SAMPLES), np.float32)
        padded[0, 0, : len(window)] = window
        log_probabilities = self._segmentation.run(None, {"samples": padded})[0][0]
        activity: Activity = _SPEAKING[log_probabilities.argmax(axis=-1)]
        return activity

    def positions(self, features: Features) -> Positions:
        """CAM++ over the whole of `features`, whose mean was subtracted."""
        outputs: Positions = self._positions.run(None, {"features": features[None]})[0][0]
        return outputs

    def voiceprints(self, positions: Positions, weights: npt.NDArray[np.float32]) -> Voiceprints:
        """One per row of `weights`, shape (n_voices, n_positions), 1 where that voice speaks."""
        raw = self._voiceprints.run(None, {"positions": positions, "weights": weights})[0]
        return unit(unit(raw) - self._mean)


def unit(rows: npt.NDArray[Any]) -> Voiceprints:
    """Rows scaled to length 1."""
    scaled: Voiceprints = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)
    return scaled

"""Whether somebody who pauses has finished: Smart Turn v3.2 of Daily, on onnxruntime, which hears intonation and not words.

The model file is in `smart_turn/`. It takes the last 8 s up to the pause; a realtime session with `semantic_vad` asks it.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from whisper_server.errors import StartError
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.mel import LogMel
from whisper_server.whisper.transcript import Samples

# From 1.29 on onnxruntime reports to Microsoft, and writes an id into the temporary folder, as soon as it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

MODEL_PATH = Path(__file__).parent / "smart_turn" / "smart_turn_v3_2.onnx"
MAX_SAMPLES = 8 * SAMPLE_RATE_HZ
"""What the model hears: a longer turn's last 8 s."""
_N_MELS = 80
_MIN_VARIANCE = 1e-7


class TurnEndDetector:
    """Thread-safe. The model is loaded at the first call (0.2 s, 40 MiB): few sessions ask for it."""

    def __init__(self, model: Path = MODEL_PATH) -> None:
        self._model = model
        self._loading = Lock()
        self._log_mel = LogMel(_N_MELS)

    def probability(self, samples: Samples) -> float:
        """That a turn with this sound is over, 0 … 1; `samples` end with some silence. Blocks for about 0.1 s.

        The features are those of `LocalSmartTurnAnalyzerV3` of pipecat-ai: padded at the front, of mean 0 and variance 1.
        Raises StartError if the model cannot be loaded.
        """
        sound = np.zeros(MAX_SAMPLES, np.float32)
        last = samples[-MAX_SAMPLES:]
        sound[MAX_SAMPLES - len(last) :] = last
        sound = (sound - sound.mean()) / np.sqrt(sound.var() + _MIN_VARIANCE)
        features = self._log_mel(sound, MAX_SAMPLES)[np.newaxis]
        with self._loading:
            session = self._session
        (probabilities,) = session.run(None, {"input_features": features})
        return float(probabilities[0, 0])

    @cached_property
    def _session(self) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # an arena never frees the memory of the largest call
        options.log_severity_level = 3
        try:
            return onnxruntime.InferenceSession(str(self._model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no base class of their own
            raise StartError(f"The end-of-turn model {self._model} cannot be loaded: {error}") from error

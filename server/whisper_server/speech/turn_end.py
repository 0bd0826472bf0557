"""Whether somebody who pauses has finished: Smart Turn v3.2 of Daily, on onnxruntime, which hears intonation and not words.

The model file is in `smart_turn/`. It takes the last 8 s up to the pause; a realtime session with `semantic_vad` asks it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_runtime.memory import TURN_END_BYTES
from whisper_server.fairness.fair_semaphore import FairSemaphore
from whisper_server.memory.budget import MemoryBudget, Reservation
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.mel import LogMel
from whisper_server.whisper.onnx_session import onnx_session
from whisper_server.whisper.transcript import Samples

_LOG = logging.getLogger(__name__)

MODEL_PATH = Path(__file__).parent / "smart_turn" / "smart_turn_v3_2.onnx"
MAX_SAMPLES = 8 * SAMPLE_RATE_HZ
"""What the model hears: a longer turn's last 8 s."""
MAX_AT_ONCE = 2
"""A call takes 43 MiB while it runs, eight at once 206."""
_N_MELS = 80
_MIN_VARIANCE = 1e-7


class TurnEndDetector:
    """Thread-safe. The model is loaded at the first call: few sessions ask for it. `TURN_END_BYTES` has what it takes."""

    def __init__(self, model: Path = MODEL_PATH) -> None:
        self._model = model
        self._loading = Lock()
        self._log_mel = LogMel(_N_MELS)

    def probability(self, samples: Samples) -> float:
        """That a turn with this sound is over, 0 … 1; `samples` end with some silence. Takes 0.1 s of CPU.

        The model is int8: where it is unsure, the same sound gives up to 0.2 more or less on another CPU, or 3 dB quieter.
        Raises StartError if the model cannot be loaded.
        """
        with self._loading:
            session = self._session
        (probabilities,) = session.run(None, {"input_features": self.features(samples)[np.newaxis]})
        return float(probabilities[0, 0])

    def features(self, samples: Samples) -> NDArray[np.float32]:
        """(80, 800) float32, those of `LocalSmartTurnAnalyzerV3` of pipecat-ai: padded at the front, of mean 0 and variance 1."""
        sound = np.zeros(MAX_SAMPLES, np.float32)
        last = samples[-MAX_SAMPLES:]
        sound[MAX_SAMPLES - len(last) :] = last
        sound = (sound - sound.mean()) / np.sqrt(sound.var() + _MIN_VARIANCE)
        return self._log_mel(sound, MAX_SAMPLES)

    @cached_property
    def _session(self) -> Any:
        return onnx_session(self._model, "end-of-turn")


class TurnEnds:
    """The detector for all sessions of a server: in threads, two at a time, within the memory budget."""

    def __init__(self, threads: FairSemaphore, held: Reservation | None = None) -> None:
        """`held`: what the model takes in memory; None: no limit."""
        self._detector = TurnEndDetector()
        self._threads = threads
        self._held = held or MemoryBudget.unlimited().reservation()
        self._has_memory = False
        self._slots = FairSemaphore(MAX_AT_ONCE)

    async def probability(self, samples: Samples, owner: str, session: Hashable) -> float:
        """As the detector's; 0 while there is no memory for it, so that silence alone ends turns."""
        if not self._has_memory:
            self._has_memory = self._held.grow(TURN_END_BYTES)
            if not self._has_memory:
                _LOG.warning(
                    "semantic_vad ends turns by silence alone: its model takes %d MiB more than MEMORY_BUDGET_BYTES has",
                    TURN_END_BYTES >> 20,
                )
                return 0.0
        async with self._slots.slot(owner, session), self._threads.slot(owner, session):
            return await asyncio.to_thread(self._detector.probability, samples)

"""The voice detector on sound that arrives: the same probabilities as for a file, frame by frame.

`vad` has the model and its figures; a state is carried from piece to piece and reset as often as in a file. What the
probabilities mean for a turn is decided in `live`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

import numpy as np

from whisper_server.fairness.fair_semaphore import FairSemaphore
from whisper_server.speech.vad import (
    BLOCK_FRAMES,
    CONTEXT_SAMPLES,
    FRAME_SAMPLES,
    LEAD_IN_FRAMES,
    MAX_GAIN,
    PASSES,
    Probabilities,
    State,
    VoiceDetector,
    frame_rows,
)
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Samples

_HISTORY_SAMPLES = LEAD_IN_FRAMES * FRAME_SAMPLES + FRAME_SAMPLES + CONTEXT_SAMPLES
_MIN_PEAK = 0.01
"""Of sound before the first word, which is not amplified as far as a whole recording of its level: −40 dB."""
_PEAK_HALF_LIFE_S = 30.0


class VoiceStream:
    """One stream of sound. Not thread-safe; `add` blocks for about 5 ms per second of sound."""

    def __init__(self, voice: VoiceDetector) -> None:
        self._voice = voice
        self._history = np.zeros(0, np.float32)
        """The samples before the next frame, and those of it that are there."""
        self._n_waiting = 0
        """How many of them belong to the next frame."""
        self._peak = _MIN_PEAK
        self._n_in_block = 0
        self._states: list[State | None] = [None for _ in PASSES]

    def add(self, samples: Samples) -> Probabilities:
        """Probabilities of the frames of 32 ms that are whole now, shape (n_frames,)."""
        self._follow_peak(samples)
        sound = np.concatenate([self._history, samples])
        at = len(self._history) - self._n_waiting
        n_frames = (len(sound) - at) // FRAME_SAMPLES
        found = [np.empty(0, np.float32)]
        while n_frames:
            n_now = min(n_frames, BLOCK_FRAMES - self._n_in_block)
            found.append(self._block(sound, at, n_now))
            self._n_in_block = (self._n_in_block + n_now) % BLOCK_FRAMES
            at += n_now * FRAME_SAMPLES
            n_frames -= n_now
        self._n_waiting = len(sound) - at
        self._history = sound[max(0, at - _HISTORY_SAMPLES) :].copy()
        return np.concatenate(found)

    def _block(self, sound: Samples, at: int, n_frames: int) -> Probabilities:
        """Frames within one block, from sample `at` on."""
        n_lead_in = 0 if self._n_in_block else min(LEAD_IN_FRAMES, at // FRAME_SAMPLES)
        passes = []
        for number, (shift, target_peak) in enumerate(PASSES):
            gain = np.float32(min(target_peak / self._peak, MAX_GAIN))
            rows = frame_rows(sound, at - n_lead_in * FRAME_SAMPLES - shift, n_lead_in + n_frames) * gain
            state = self._states[number] if self._n_in_block else None
            probabilities, self._states[number] = self._voice.infer(rows, state)
            passes.append(probabilities[n_lead_in:])
        return np.asarray(np.mean(passes, axis=0), np.float32)

    def _follow_peak(self, samples: Samples) -> None:
        if not len(samples):
            return
        decay = 0.5 ** (len(samples) / SAMPLE_RATE_HZ / _PEAK_HALF_LIFE_S)
        peak = max(float(samples.max()), -float(samples.min()))
        self._peak = max(_MIN_PEAK, self._peak * decay, peak)


class ThreadedVoice:
    """One stream in threads of the server, in its owner's turn. One call of `add` at a time."""

    def __init__(self, voice: VoiceDetector, threads: FairSemaphore, owner: str, session: Hashable) -> None:
        self._stream = VoiceStream(voice)
        self._threads = threads
        self._owner = owner
        self._session = session

    async def add(self, samples: Samples) -> Probabilities:
        """As `VoiceStream.add`."""
        async with self._threads.slot(self._owner, self._session):
            return await asyncio.to_thread(self._stream.add, samples)

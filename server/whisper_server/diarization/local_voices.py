"""The voices of each window of 10 s with their voiceprints, from sound that arrives in pieces.

Windows begin every 2.5 s, so that each moment is judged four times. CAM++ runs once over each 10 s of sound with speech;
every voice of a window then pools the outputs of the moments at which it speaks alone, and so does each of its stretches.
Memory: the sound of 20 s, and about 8 KB for each window.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from whisper_server.diarization.fbank import FRAME_SAMPLES as FEATURE_SAMPLES
from whisper_server.diarization.fbank import HOP_SAMPLES, FilterBank
from whisper_server.diarization.nets import (
    FIRST_FRAME_SAMPLE,
    FRAME_SAMPLES,
    N_CHANNELS,
    N_VALUES,
    POSITION_SAMPLES,
    WINDOW_SAMPLES,
    Activity,
    Positions,
    SpeakerNets,
    Voiceprints,
)
from whisper_server.diarization.window_voices import N_POSITIONS, weights_of
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Samples

WINDOW_HOP_SAMPLES = 40_000
_MIN_BLOCK_SAMPLES = 4000
"""CAM++ needs a few positions: a shorter end is padded to 0.25 s."""


@dataclass(frozen=True)
class Stretches:
    """Speech of one voice in one window without a pause."""

    of_voiceprint: npt.NDArray[np.int64]
    """Whose it is: an index of LocalVoices, shape (n,)."""
    frames: npt.NDArray[np.int64]
    """First frame of the window, and the one after the last, shape (n, 2)."""
    voiceprints: Voiceprints
    """Its own, or its voice's where it is too short for one."""


@dataclass(frozen=True)
class LocalVoices:
    """The voices of a recording's windows before they are compared with each other."""

    n_samples: int
    activities: Sequence[Activity]
    """One a window; window i begins at i × WINDOW_HOP_SAMPLES."""
    windows: npt.NDArray[np.int64]
    """The window of each voiceprint, shape (n,)."""
    voices: npt.NDArray[np.int64]
    """Which of the window's voices it is, shape (n,)."""
    voiceprints: Voiceprints
    speech_s: npt.NDArray[np.float64]
    """Speech behind each voiceprint, shape (n,)."""
    stretches: Stretches


def local_voices(nets: SpeakerNets, pieces: Iterable[Samples]) -> LocalVoices:
    """Go through a recording that comes in pieces of at most 10 s."""
    listener = _Listener(nets)
    for piece in pieces:
        listener.add(piece)
    return listener.finish()


class _Listener:
    """The sound that is still needed, and what was found so far."""

    def __init__(self, nets: SpeakerNets) -> None:
        self._nets = nets
        self._filter_bank = FilterBank()
        self._sound = np.empty(0, np.float32)
        self._sound_begin = 0
        self._activities: list[Activity] = []
        self._n_blocks = 0
        self._blocks: dict[int, Positions] = {}
        self._n_voiced = 0
        """Windows whose voiceprints are taken."""
        self._found: list[tuple[int, int, Voiceprints, float]] = []
        self._stretches: list[tuple[int, int, int, Voiceprints]] = []

    def add(self, piece: Samples) -> None:
        self._sound = np.concatenate([self._sound, piece])
        end = self._sound_begin + len(self._sound)
        while (begin := len(self._activities) * WINDOW_HOP_SAMPLES) + WINDOW_SAMPLES <= end:
            self._open_window(begin)
        while (begin := self._n_blocks * WINDOW_SAMPLES) + WINDOW_SAMPLES <= len(self._activities) * WINDOW_HOP_SAMPLES:
            self._open_block(begin)

    def finish(self) -> LocalVoices:
        end = self._sound_begin + len(self._sound)
        n_windows = max(1, -(-max(0, end - WINDOW_SAMPLES) // WINDOW_HOP_SAMPLES) + 1)
        while len(self._activities) < n_windows:
            self._open_window(len(self._activities) * WINDOW_HOP_SAMPLES)
        while self._n_blocks * WINDOW_SAMPLES < end:
            self._open_block(self._n_blocks * WINDOW_SAMPLES)
        self._take_voiceprints(n_windows)
        windows, voices, prints, speech_s = zip(*self._found, strict=True) if self._found else ((), (), (), ())
        return LocalVoices(
            n_samples=end,
            activities=tuple(self._activities),
            windows=np.array(windows, np.int64),
            voices=np.array(voices, np.int64),
            voiceprints=np.array(prints, np.float32).reshape(len(prints), N_VALUES),
            speech_s=np.array(speech_s, np.float64),
            stretches=self._found_stretches(),
        )

    def _found_stretches(self) -> Stretches:
        numbers = np.array([one[:3] for one in self._stretches], np.int64).reshape(-1, 3)
        prints = np.array([one[3] for one in self._stretches], np.float32).reshape(-1, N_VALUES)
        return Stretches(numbers[:, 0], numbers[:, 1:], prints)

    def _samples(self, begin: int, end: int) -> Samples:
        return self._sound[max(0, begin - self._sound_begin) : max(0, end - self._sound_begin)]

    def _open_window(self, begin: int) -> None:
        self._activities.append(self._nets.activity(self._samples(begin, begin + WINDOW_SAMPLES)))

    def _open_block(self, begin: int) -> None:
        """Run CAM++ over 10 s from `begin`, and forget the sound before the next block."""
        self._blocks[self._n_blocks] = self._positions_of(begin)
        self._n_blocks += 1
        end = begin + WINDOW_SAMPLES
        self._take_voiceprints(min(len(self._activities), (end - WINDOW_SAMPLES) // WINDOW_HOP_SAMPLES + 1))
        keep_from = min(end, len(self._activities) * WINDOW_HOP_SAMPLES)
        self._sound = self._sound[max(0, keep_from - self._sound_begin) :].copy()
        self._sound_begin = max(self._sound_begin, keep_from)

    def _positions_of(self, begin: int) -> Positions:
        positions = np.zeros((N_CHANNELS, N_POSITIONS), np.float32)
        is_speech = self._speech_of_block(begin)
        # One frame's overhang, so that the last positions have their frames.
        sound = self._samples(begin, begin + WINDOW_SAMPLES + FEATURE_SAMPLES - HOP_SAMPLES)
        if not is_speech.any() or not len(sound):
            return positions
        if len(sound) < _MIN_BLOCK_SAMPLES:
            sound = np.pad(sound, (0, _MIN_BLOCK_SAMPLES - len(sound)))
        features = self._filter_bank.features(sound)
        heard = features[is_speech[: len(features)]]
        outputs = self._nets.positions(features - (heard if len(heard) else features).mean(axis=0))
        n_positions = min(outputs.shape[1], N_POSITIONS)
        positions[:, :n_positions] = outputs[:, :n_positions]
        return positions

    def _speech_of_block(self, begin: int) -> npt.NDArray[np.bool_]:
        """Whether anybody speaks in each feature frame of the block, by the windows that overlap it so far."""
        is_speech = np.zeros(WINDOW_SAMPLES // HOP_SAMPLES, np.bool_)
        first = max(0, (begin - WINDOW_SAMPLES) // WINDOW_HOP_SAMPLES + 1)
        for index in range(first, len(self._activities)):
            frames = np.flatnonzero(self._activities[index].any(axis=1))
            samples = index * WINDOW_HOP_SAMPLES + FIRST_FRAME_SAMPLE + frames * FRAME_SAMPLES - begin
            at = samples[(samples >= 0) & (samples < WINDOW_SAMPLES - HOP_SAMPLES)] // HOP_SAMPLES
            is_speech[at] = is_speech[at + 1] = True
        return is_speech

    def _take_voiceprints(self, n_windows: int) -> None:
        """Those of the windows before `n_windows` that are still to be taken; blocks that are needed no more go."""
        for index in range(self._n_voiced, n_windows):
            self._take_voiceprints_of(index)
        self._n_voiced = max(self._n_voiced, n_windows)
        for block in [one for one in self._blocks if (one + 1) * WINDOW_SAMPLES <= self._n_voiced * WINDOW_HOP_SAMPLES]:
            del self._blocks[block]

    def _take_voiceprints_of(self, index: int) -> None:
        voices = [*weights_of(self._activities[index])]
        if not voices:
            return
        stretches = [(number, one) for number, voice in enumerate(voices) for one in voice.stretches]
        longer = [one.weights for _, one in stretches if one.weights is not None]
        positions = self._positions_at(index)
        weights = np.array([*(voice.weights for voice in voices), *longer])[:, : positions.shape[1]]
        prints = self._nets.voiceprints(positions, weights)
        own = iter(prints[len(voices) :])
        self._stretches += [
            (len(self._found) + number, one.first, one.stop, prints[number] if one.weights is None else next(own))
            for number, one in stretches
        ]
        speech_s = weights.sum(axis=1) * POSITION_SAMPLES / SAMPLE_RATE_HZ
        self._found += [(index, one.voice, prints[n], float(speech_s[n])) for n, one in enumerate(voices)]

    def _positions_at(self, index: int) -> Positions:
        """Of a window: the end of one block and the start of the next."""
        block, first = divmod(index * WINDOW_HOP_SAMPLES // POSITION_SAMPLES, N_POSITIONS)
        parts = [self._blocks[block][:, first:]]
        if first and block + 1 in self._blocks:
            parts.append(self._blocks[block + 1][:, :first])
        return np.concatenate(parts, axis=1)

"""The voices of each window of 10 s with their voiceprints, from sound that arrives in pieces.

Windows begin every 2.5 s, so that each moment is judged four times. CAM++ runs once over each 10 s of sound with speech;
every voice of a window then pools the outputs of the moments at which it speaks alone. Memory: the sound of 20 s, and
about 3 KB for each window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from whisper_server.diarization.fbank import FRAME_SAMPLES as FEATURE_SAMPLES
from whisper_server.diarization.fbank import HOP_SAMPLES, FilterBank
from whisper_server.diarization.nets import (
    FIRST_FRAME_SAMPLE,
    FRAME_SAMPLES,
    N_CHANNELS,
    N_FRAMES,
    N_LOCAL_VOICES,
    N_VALUES,
    POSITION_SAMPLES,
    WINDOW_SAMPLES,
    Activity,
    Positions,
    SpeakerNets,
    Voiceprints,
)
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Samples

WINDOW_HOP_SAMPLES = 40_000
MIN_ALONE_S = 0.5
"""A voice that speaks alone for less is judged by all of its speech."""
MIN_VOICE_S = 0.4
"""A voice with less speech in a window has no voiceprint."""
_FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
_N_POSITIONS = WINDOW_SAMPLES // POSITION_SAMPLES
_FRAME_OF_POSITION = np.clip(
    np.round(((np.arange(_N_POSITIONS) + 0.5) * POSITION_SAMPLES - FIRST_FRAME_SAMPLE) / FRAME_SAMPLES), 0, N_FRAMES - 1
).astype(np.int64)
_MIN_BLOCK_SAMPLES = 4000
"""CAM++ needs a few positions: a shorter end is padded to 0.25 s."""


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
        )

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
        positions = np.zeros((N_CHANNELS, _N_POSITIONS), np.float32)
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
        n_positions = min(outputs.shape[1], _N_POSITIONS)
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
            self._found += self._voiceprints_of(index)
        self._n_voiced = max(self._n_voiced, n_windows)
        for block in [one for one in self._blocks if (one + 1) * WINDOW_SAMPLES <= self._n_voiced * WINDOW_HOP_SAMPLES]:
            del self._blocks[block]

    def _voiceprints_of(self, index: int) -> Iterator[tuple[int, int, Voiceprints, float]]:
        voices, weights = weights_of(self._activities[index])
        if not voices:
            return
        block, first = divmod(index * WINDOW_HOP_SAMPLES // POSITION_SAMPLES, _N_POSITIONS)
        parts = [self._blocks[block][:, first:]]
        if first and block + 1 in self._blocks:
            parts.append(self._blocks[block + 1][:, :first])
        positions = np.concatenate(parts, axis=1)
        weights = weights[:, : positions.shape[1]]
        prints = self._nets.voiceprints(positions, weights)
        for voice, one, speech_s in zip(voices, prints, weights.sum(axis=1), strict=True):
            yield index, voice, one, float(speech_s) * POSITION_SAMPLES / SAMPLE_RATE_HZ


def weights_of(activity: Activity) -> tuple[list[int], npt.NDArray[np.float32]]:
    """The voices of a window that get a voiceprint, and where each counts, shape (n_voices, n_positions)."""
    alone = activity & (activity.sum(axis=1, keepdims=True) == 1)
    voices: list[int] = []
    rows: list[npt.NDArray[np.bool_]] = []
    for voice in range(N_LOCAL_VOICES):
        speaks = alone[:, voice] if alone[:, voice].sum() * _FRAME_S >= MIN_ALONE_S else activity[:, voice]
        if speaks.sum() * _FRAME_S >= MIN_VOICE_S:
            voices.append(voice)
            rows.append(speaks[_FRAME_OF_POSITION])
    return voices, np.array(rows, np.float32).reshape(len(rows), _N_POSITIONS)

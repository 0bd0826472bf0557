"""From the speakers of overlapping windows to turns with start and end, overlaps included."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from whisper_server.diarization.local_voices import WINDOW_HOP_SAMPLES, LocalVoices
from whisper_server.diarization.nets import FIRST_FRAME_SAMPLE, FRAME_SAMPLES, N_FRAMES
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.speakers import Turn

MAX_PAUSE_S = 0.5
"""Shorter pauses within a speaker's turn belong to it, as in most reference transcripts."""
MIN_TURN_S = 0.1
_FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
_BEGIN_S = FIRST_FRAME_SAMPLE / SAMPLE_RATE_HZ - _FRAME_S / 2

Timeline = npt.NDArray[np.bool_]
"""The speakers of each frame of 16.9 ms, shape (n_frames, n_speakers)."""


def turns_of(found: LocalVoices, of_stretch: npt.NDArray[np.int64], n_speakers: int) -> tuple[Turn, ...]:
    """The turns by start; speakers are called 0, 1, … by their first turn."""
    timeline = speaking(found, of_stretch, n_speakers)
    duration_s = found.n_samples / SAMPLE_RATE_HZ
    spans = [
        (start_s, min(end_s, duration_s), speaker)
        for speaker in range(n_speakers)
        for start_s, end_s in _spans(timeline[:, speaker])
        if end_s - start_s >= MIN_TURN_S and start_s < duration_s
    ]
    return tuple(Turn(start_s, end_s, str(speaker)) for start_s, end_s, speaker in sorted(spans))


def speaking(found: LocalVoices, of_stretch: npt.NDArray[np.int64], n_speakers: int) -> Timeline:
    """Where windows differ they vote, their middles more than their ends: on how many speak, then on the speakers."""
    n_frames = -(-(len(found.activities) * WINDOW_HOP_SAMPLES) // FRAME_SAMPLES) + N_FRAMES
    weight = np.hamming(N_FRAMES).astype(np.float32)
    votes = np.zeros((n_frames, n_speakers), np.float32)
    n_speaking, total = np.zeros(n_frames, np.float32), np.zeros(n_frames, np.float32)
    for index, activity in enumerate(found.activities):
        first = round(index * WINDOW_HOP_SAMPLES / FRAME_SAMPLES)
        total[first : first + N_FRAMES] += weight
        n_speaking[first : first + N_FRAMES] += weight * activity.sum(axis=1)
    owners = found.stretches.of_voiceprint
    for window, voice, (first, stop), speaker in zip(
        found.windows[owners].tolist(),
        found.voices[owners].tolist(),
        found.stretches.frames.tolist(),
        of_stretch.tolist(),
        strict=True,
    ):
        begin = round(window * WINDOW_HOP_SAMPLES / FRAME_SAMPLES)
        speaks = found.activities[window][first:stop, voice]
        votes[begin + first : begin + stop, speaker] += weight[first:stop] * speaks
    total = np.maximum(total, 1e-6)
    rank = (-votes).argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    timeline: Timeline = (rank < np.round(n_speaking / total)[:, None]) & (votes > 0)
    return timeline


def _spans(speaks: npt.NDArray[np.bool_]) -> Iterator[tuple[float, float]]:
    """(start, end) in seconds, with short pauses filled."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], speaks.astype(np.int8), [0]])))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return
    is_pause = (starts[1:] - ends[:-1]) * _FRAME_S > MAX_PAUSE_S
    firsts: Sequence[int] = [0, *(np.flatnonzero(is_pause) + 1).tolist(), len(starts)]
    for first, stop in pairwise(firsts):
        yield max(0.0, float(starts[first]) * _FRAME_S + _BEGIN_S), float(ends[stop - 1]) * _FRAME_S + _BEGIN_S

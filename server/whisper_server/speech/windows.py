"""Cuts a recording into the windows that the model gets: at most 30 s each, cut in pauses.

`cut` tiles the whole recording; `cut_by_speech` follows the voice detector and leaves long silence out.
Pure functions: samples and spans in, sample positions out. This module does not decode, pad or copy audio. Its
memory does not grow with the recording, because it computes the loudness of one window at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from whisper_server.speech.loudness import AudibleFrames, smooth_db
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Samples

MAX_S = 30.0
"""The input length of every Whisper encoder."""
MAX_GAP_S = 2.0
"""Maximum silence between two spans of speech in one window."""
MAX_PAUSE_S = 6.0
"""Maximum silence before speech in a window. With real prompts and pauses of 3.2 to 6 s Whisper base hears as much in whole
windows as in windows split at 3 s (18 wrong words of 145 each, with and without timestamps), for a third of the CPU time.
With pauses of 8 to 14 s it still hears all, but one cue of 12 begins 8 s early."""

_HOP_SAMPLES = 160
_FRAME_SAMPLES = 640
"""The loudness curve: RMS over 40 ms, every 10 ms, which smooths the valleys between pitch periods."""
_RANGE_DB = 30.0
"""The curve is clipped this far below the speech: digital silence is no better a pause than a quiet room."""
_PAUSE_BELOW_DB = 15.0
"""A pause is at least this far below the loudest part, so it may have noise in it. Quiet speech matches too; the
voice detector then decides."""
_QUIET_SHARE = 0.3
"""A frame is quiet if it is in this lowest share of the range from the quietest frame to the speech."""
_SAFE_CLEARANCE_S = 0.5
"""More distance to speech than this, on both sides, does not make a cut safer."""
_PAUSE_CLEARANCE_S = 0.1
"""Half the length of the shortest pause: the closures of plosives inside words are shorter than 0.2 s."""
_LOOK_AHEAD_SAMPLES = round(_SAFE_CLEARANCE_S * SAMPLE_RATE_HZ)
_EARLIEST_SHARE = 1 / 3
"""No cut before this share of the maximum window, except at the end of the recording."""
_EARLY_CUT_PENALTY_S = 0.6
"""Penalty for cutting early: a cut one full window before the target needs this many more seconds of clearance."""
_MIN_TAIL_S = 2.0
"""Minimum length of the last window, or a quarter of the maximum window where that is shorter."""


@dataclass(frozen=True)
class Window:
    """A part of the recording, as sample positions."""

    start_sample: int
    end_sample: int

    @property
    def n_samples(self) -> int:
        """Length in samples."""
        return self.end_sample - self.start_sample

    @property
    def start_s(self) -> float:
        """Seconds from the start of the recording."""
        return self.start_sample / SAMPLE_RATE_HZ

    @property
    def end_s(self) -> float:
        """Seconds from the start of the recording."""
        return self.end_sample / SAMPLE_RATE_HZ

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / SAMPLE_RATE_HZ

    def of(self, recording: Samples) -> Samples:
        """The samples of the window, as a view."""
        return recording[self.start_sample : self.end_sample]


def cut(samples: Samples, max_s: float = MAX_S) -> tuple[Window, ...]:
    """Tile the whole recording, without gap or overlap, with windows of at most `max_s` (1–30 s, else ValueError)."""
    return tuple(_tile(samples, _n_samples(max_s)))


def cut_by_speech(
    samples: Samples,
    speech: Sequence[tuple[int, int]],
    max_s: float = MAX_S,
    max_gap_s: float = MAX_GAP_S,
) -> tuple[Window, ...]:
    """Windows that cover the spans of `speech` (ordered sample positions, already padded).

    Adjacent spans share a window while it is at most `max_s` long and the silence between them at most
    `max_gap_s`. A span longer than a window is cut in its pauses. Without speech there is no window.
    """
    max_samples = _n_samples(max_s)
    max_gap = round(max_gap_s * SAMPLE_RATE_HZ)
    merged: list[Window] = []
    for piece in _pieces(samples, speech, max_samples):
        last = merged[-1] if merged else None
        if (
            last is not None
            and piece.end_sample - last.start_sample <= max_samples
            and piece.start_sample - last.end_sample <= max_gap
        ):
            merged[-1] = Window(last.start_sample, piece.end_sample)
        else:
            merged.append(piece)
    return tuple(merged)


def has_long_pause(frames: AudibleFrames) -> bool:
    """Whether it is quiet for more than MAX_PAUSE_S, compared with the loudest part. Cheap and approximate."""
    if frames.duration_s <= MAX_PAUSE_S:
        return False
    loudness_db = smooth_db(frames.power.astype(np.float64))
    loud_frames = np.flatnonzero(loudness_db > loudness_db.max() - _PAUSE_BELOW_DB)
    max_hops = int(np.diff(loud_frames, prepend=-1, append=len(loudness_db)).max(initial=0))
    return max_hops * _HOP_SAMPLES > MAX_PAUSE_S * SAMPLE_RATE_HZ


def split_after_pauses(window: Window, speech: Sequence[tuple[int, int]]) -> tuple[Window, ...]:
    """Tile `window` with windows in which no speech follows a long pause; a pause belongs to the part before it.

    `speech` are the voice detector's spans, as positions in the window.
    """
    starts = [0]
    spoken_until = 0
    for start, end in speech:
        if start - spoken_until > MAX_PAUSE_S * SAMPLE_RATE_HZ:
            starts.append(start)
        spoken_until = max(spoken_until, end)
    return tuple(
        Window(window.start_sample + start, window.start_sample + end)
        for start, end in itertools.pairwise([*starts, window.n_samples])
    )


def _pieces(samples: Samples, speech: Sequence[tuple[int, int]], max_samples: int) -> Iterator[Window]:
    """The spans within the recording, cut at `max_samples`; overlapping spans do not repeat samples."""
    done = 0
    for span_start, span_end in speech:
        start = max(span_start, done)
        for window in _tile(samples[start:span_end], max_samples):
            yield Window(start + window.start_sample, start + window.end_sample)
        done = max(done, span_end)


def _n_samples(max_s: float) -> int:
    if not 1 <= max_s <= MAX_S:
        raise ValueError(f"max_s is {max_s}; a window may last 1 to {MAX_S:g} seconds")
    return int(max_s * SAMPLE_RATE_HZ)


def _tile(samples: Samples, max_samples: int) -> Iterator[Window]:
    start = 0
    while (n_left := len(samples) - start) > max_samples:
        end = start + _cut_point(samples[start : start + max_samples + _LOOK_AHEAD_SAMPLES], n_left, max_samples)
        yield Window(start, end)
        start = end
    if start < len(samples):
        yield Window(start, len(samples))


@dataclass(frozen=True)
class _Zone:
    """Range of positions for a cut, in samples from the start of the window."""

    earliest: int
    latest: int
    target: int
    """The best position if only lengths mattered."""


@dataclass(frozen=True)
class _Candidate:
    sample: int
    clearance_s: float
    """Distance to the nearest speech on either side, at most _SAFE_CLEARANCE_S."""
    score: float


def _cut_point(sound: Samples, n_left: int, max_samples: int) -> int:
    """End of the window at the start of `sound`; `n_left` is what remains of the recording, more than `max_samples`."""
    min_samples = int(max_samples * _EARLIEST_SHARE)
    min_tail = min(int(_MIN_TAIL_S * SAMPLE_RATE_HZ), max_samples // 4)
    latest = min(max_samples, n_left - min_tail)
    anywhere = _Zone(min(min_samples, latest), latest, latest)
    quiet = _quiet_spans(sound, anywhere)

    if n_left <= 2 * max_samples:
        # After a cut from here on, the rest fits into two windows; two halves are better than a short last window.
        earliest = max(anywhere.earliest, n_left - max_samples)
        if earliest <= latest:
            halving = _Zone(earliest, latest, min(max(n_left // 2, earliest), latest))
            best = _best(quiet, halving, max_samples)
            if best is not None and best.clearance_s >= _PAUSE_CLEARANCE_S:
                return best.sample

    best = _best(quiet, anywhere, max_samples)
    return latest if best is None else best.sample


def _best(quiet: Sequence[tuple[int, int]], zone: _Zone, max_samples: int) -> _Candidate | None:
    candidates = (_candidate(start, end, zone, max_samples) for start, end in quiet)
    return max((one for one in candidates if one is not None), key=lambda one: one.score, default=None)


def _candidate(start: int, end: int, zone: _Zone, max_samples: int) -> _Candidate | None:
    """The best cut in one quiet span: its middle, or closer to the target if the span is long."""
    if end < zone.earliest or start > zone.latest:
        return None
    margin = min(_LOOK_AHEAD_SAMPLES, (end - start) // 2)
    sample = min(max(zone.target, start + margin), end - margin)
    sample = min(max(sample, zone.earliest), zone.latest)
    clearance_s = min(sample - start, end - sample, _LOOK_AHEAD_SAMPLES) / SAMPLE_RATE_HZ
    penalty_s = _EARLY_CUT_PENALTY_S * abs(sample - zone.target) / max_samples
    return _Candidate(sample, clearance_s, clearance_s - penalty_s)


def _quiet_spans(sound: Samples, zone: _Zone) -> list[tuple[int, int]]:
    """Maximal quiet spans, as (start, end) in samples; quiet is relative to this window."""
    loudness_db = _loudness_db(sound)
    inside = loudness_db[zone.earliest // _HOP_SAMPLES : zone.latest // _HOP_SAMPLES + 1]
    speech_db = float(np.percentile(loudness_db, 95))
    floor_db = max(float(inside.min()), speech_db - _RANGE_DB)
    is_quiet = loudness_db <= floor_db + _QUIET_SHARE * (speech_db - floor_db)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], is_quiet, [False])).astype(np.int8)))
    # A frame stands for the hop in its middle; the first and the last one also for the samples outside of it.
    to_middle = (_FRAME_SAMPLES - _HOP_SAMPLES) // 2
    return [
        (
            to_middle + start * _HOP_SAMPLES if start > 0 else 0,
            to_middle + end * _HOP_SAMPLES if end < len(is_quiet) else len(sound),
        )
        for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    ]


def _loudness_db(sound: Samples) -> npt.NDArray[np.float64]:
    """RMS per frame in dBFS (`librosa.feature.rms` without centering); frame i starts at sample i · _HOP_SAMPLES."""
    n_hops = len(sound) // _HOP_SAMPLES  # a frame is a whole number of hops: each sample is squared once
    hops = sound[: n_hops * _HOP_SAMPLES].reshape(n_hops, _HOP_SAMPLES)
    return smooth_db(np.square(hops).mean(axis=1, dtype=np.float64))

"""Where a recording is cut into the windows that the model sees: at most 30 s each, in pauses.

`cut` tiles the whole recording; `cut_by_speech` follows the voice detector and leaves long silence out.
Pure: samples and spans in, sample positions out. Nothing here decodes, pads or copies sound, and memory
does not grow with the recording: the loudness curve is that of one window at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Samples

MAX_S = 30.0
"""What a Whisper encoder takes."""
MAX_GAP_S = 2.0
"""Silence between two stretches of speech that may share a window."""
MAX_PAUSE_S = 3.0
"""Silence before speech in a window. After more of it models take the whole window for silence, or its end."""

_HOP_SAMPLES = 160
_FRAME_SAMPLES = 640
"""The loudness curve: RMS over 40 ms, every 10 ms, so that the valleys between pitch periods do not show."""
_RANGE_DB = 30.0
"""Quieter than this below the speech is all the same: digital silence is no better a pause than a quiet room."""
_PAUSE_BELOW_DB = 15.0
"""A pause is this much below the loudest part: noise may fill it. Quiet speech too, but the voice detector tells."""
_QUIET_SHARE = 0.3
"""Quiet is what lies in this lowest share of the range between the quietest frame and the speech."""
_SAFE_CLEARANCE_S = 0.5
"""This far from speech on both sides a cut cannot get any safer."""
_PAUSE_CLEARANCE_S = 0.1
"""Closures of stops inside words are shorter than twice this; pauses are longer."""
_LOOK_AHEAD_SAMPLES = round(_SAFE_CLEARANCE_S * SAMPLE_RATE_HZ)
_EARLIEST_SHARE = 1 / 3
"""No cut before this share of the longest window, except for the end of the recording."""
_SLOPE = 0.6
"""Clearance in seconds that a cut a whole window too early must have more."""
_LONGEST_TAIL_KEPT_S = 2.0


@dataclass(frozen=True)
class Window:
    """A stretch of the recording, as sample positions."""

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
        """The sound in it; no copy."""
        return recording[self.start_sample : self.end_sample]


def cut(samples: Samples, max_s: float = MAX_S) -> tuple[Window, ...]:
    """Tile the whole recording, without gap or overlap, by windows of at most `max_s`."""
    return tuple(_tile(samples, _n_samples(max_s)))


def cut_by_speech(
    samples: Samples,
    speech: Sequence[tuple[int, int]],
    max_s: float = MAX_S,
    max_gap_s: float = MAX_GAP_S,
) -> tuple[Window, ...]:
    """Windows over the spans of `speech` (ordered sample positions, already padded), and over little else.

    Neighbours share a window while it stays within `max_s` and the silence between them within
    `max_gap_s`; a span that is longer than a window is cut in its pauses. No speech, no window.
    """
    longest = _n_samples(max_s)
    max_gap = round(max_gap_s * SAMPLE_RATE_HZ)
    merged: list[Window] = []
    for piece in _pieces(samples, speech, longest):
        last = merged[-1] if merged else None
        if (
            last is not None
            and piece.end_sample - last.start_sample <= longest
            and piece.start_sample - last.end_sample <= max_gap
        ):
            merged[-1] = Window(last.start_sample, piece.end_sample)
        else:
            merged.append(piece)
    return tuple(merged)


def has_long_pause(sound: Samples) -> bool:
    """Whether it is quiet for longer than MAX_PAUSE_S, beside the loudest part; cheap, and not always right."""
    if len(sound) <= MAX_PAUSE_S * SAMPLE_RATE_HZ:
        return False
    loudness_db = _loudness_db(sound)
    loud_frames = np.flatnonzero(loudness_db > loudness_db.max() - _PAUSE_BELOW_DB)
    max_hops = int(np.diff(loud_frames, prepend=-1, append=len(loudness_db)).max(initial=0))
    return max_hops * _HOP_SAMPLES > MAX_PAUSE_S * SAMPLE_RATE_HZ


def split_after_pauses(window: Window, speech: Sequence[tuple[int, int]]) -> tuple[Window, ...]:
    """Tile `window` by windows in which no speech comes after a long pause: the pause stays with what was before.

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


def _pieces(samples: Samples, speech: Sequence[tuple[int, int]], longest: int) -> Iterator[Window]:
    """The spans within the recording, the overlong ones cut; overlapping spans do not repeat sound."""
    done = 0
    for span_start, span_end in speech:
        start = max(span_start, done)
        for window in _tile(samples[start:span_end], longest):
            yield Window(start + window.start_sample, start + window.end_sample)
        done = max(done, span_end)


def _n_samples(max_s: float) -> int:
    if not 1 <= max_s <= MAX_S:
        raise ValueError(f"max_s is {max_s}; a window may last 1 to {MAX_S:g} seconds")
    return int(max_s * SAMPLE_RATE_HZ)


def _tile(samples: Samples, longest: int) -> Iterator[Window]:
    start = 0
    while len(samples) - start > longest:
        end = start + _cut_point(samples[start : start + longest + _LOOK_AHEAD_SAMPLES], len(samples) - start, longest)
        yield Window(start, end)
        start = end
    if start < len(samples):
        yield Window(start, len(samples))


@dataclass(frozen=True)
class _Zone:
    """Where a cut is looked for, in samples from the start of the window."""

    earliest: int
    latest: int
    target: int
    """The best place as far as lengths go."""


@dataclass(frozen=True)
class _Candidate:
    sample: int
    clearance_s: float
    """Distance to the nearest sound on either side, up to _SAFE_CLEARANCE_S."""
    score: float


def _cut_point(sound: Samples, n_left: int, longest: int) -> int:
    """Where the window at the start of `sound` ends; `n_left` samples are left in all, more than `longest`."""
    shortest = int(longest * _EARLIEST_SHARE)
    min_tail = min(int(_LONGEST_TAIL_KEPT_S * SAMPLE_RATE_HZ), longest // 4)
    latest = min(longest, n_left - min_tail)
    anywhere = _Zone(min(shortest, latest), latest, latest)
    quiet = _quiet_stretches(sound, anywhere)

    if n_left <= 2 * longest:
        # Two windows do for the rest if it is cut after this point; then halves are better than a sliver.
        earliest = max(anywhere.earliest, n_left - longest)
        if earliest <= latest:
            halving = _Zone(earliest, latest, min(max(n_left // 2, earliest), latest))
            best = _best(quiet, halving, longest)
            if best is not None and best.clearance_s >= _PAUSE_CLEARANCE_S:
                return best.sample

    best = _best(quiet, anywhere, longest)
    return latest if best is None else best.sample


def _best(quiet: Sequence[tuple[int, int]], zone: _Zone, longest: int) -> _Candidate | None:
    candidates = (_candidate(start, end, zone, longest) for start, end in quiet)
    return max((one for one in candidates if one is not None), key=lambda one: one.score, default=None)


def _candidate(start: int, end: int, zone: _Zone, longest: int) -> _Candidate | None:
    """The best cut in one quiet stretch: its middle, or nearer the target where the stretch is long."""
    if end < zone.earliest or start > zone.latest:
        return None
    margin = min(_LOOK_AHEAD_SAMPLES, (end - start) // 2)
    sample = min(max(zone.target, start + margin), end - margin)
    sample = min(max(sample, zone.earliest), zone.latest)
    clearance_s = min(sample - start, end - sample, _LOOK_AHEAD_SAMPLES) / SAMPLE_RATE_HZ
    return _Candidate(sample, clearance_s, clearance_s - _SLOPE * abs(sample - zone.target) / longest)


def _quiet_stretches(sound: Samples, zone: _Zone) -> list[tuple[int, int]]:
    """Maximal stretches of quiet, as (start, end) in samples; quiet is relative to this window."""
    loudness_db = _loudness_db(sound)
    inside = loudness_db[zone.earliest // _HOP_SAMPLES : zone.latest // _HOP_SAMPLES + 1]
    speech_db = float(np.percentile(loudness_db, 95))
    floor_db = max(float(inside.min()), speech_db - _RANGE_DB)
    is_quiet = loudness_db <= floor_db + _QUIET_SHARE * (speech_db - floor_db)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], is_quiet, [False])).astype(np.int8)))
    # A frame speaks for the hop in its middle, the first and the last one also for the sound outside of that.
    to_middle = (_FRAME_SAMPLES - _HOP_SAMPLES) // 2
    return [
        (
            to_middle + start * _HOP_SAMPLES if start > 0 else 0,
            to_middle + end * _HOP_SAMPLES if end < len(is_quiet) else len(sound),
        )
        for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    ]


def _loudness_db(sound: Samples) -> npt.NDArray[np.float64]:
    """RMS a frame, in decibels of full scale; frame i begins at sample i · _HOP_SAMPLES."""
    import librosa  # seconds to import: who only uses Window does not wait for it.

    rms: npt.NDArray[np.float32] = librosa.feature.rms(
        y=sound, frame_length=_FRAME_SAMPLES, hop_length=_HOP_SAMPLES, center=False
    )[0]
    return np.asarray(20.0 * np.log10(np.maximum(rms.astype(np.float64), 1e-5)))

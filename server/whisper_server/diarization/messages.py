"""What server and diarizing process say to each other: a line of JSON each way, and raw float32 samples after a job's line.

    server → process   DiarizationJob, then the samples of each reference, then the recording's
    process → server   Ready (once), then a DiarizationResult per job

The process is not trusted with more than an answer: the server checks every field.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any


class BadMessage(Exception):
    """The line is none of the messages below."""


@dataclass(frozen=True)
class DiarizationJob:
    """The recording and the references, in numbers."""

    n_samples: int
    n_reference_samples: tuple[int, ...] = ()
    exact: int | None = None
    least: int = 1
    most: int | None = None

    def to_line(self) -> bytes:
        return _line(self)

    @classmethod
    def from_line(cls, line: bytes) -> DiarizationJob:
        values = _values(line)
        return cls(**{**values, "n_reference_samples": tuple(values["n_reference_samples"])})


@dataclass(frozen=True)
class DiarizationResult:
    """Turns of speakers 0, 1, …"""

    turns: tuple[tuple[float, float, int], ...]
    """(start in s, end in s, speaker) by start."""
    reference_of: tuple[tuple[int, int], ...] = ()
    """(speaker, index of the reference) where the voices are the same."""
    bad_reference: int | None = None
    """Index of a reference with another number of voices than one; there are no turns then."""
    n_reference_voices: int = 0

    def to_line(self) -> bytes:
        return _line(self)

    @classmethod
    def from_line(cls, line: bytes) -> DiarizationResult:
        """Raises BadMessage, also for the part of a line that a process leaves that dies."""
        values = _values(line)
        try:
            turns = tuple((_time(start), _time(end), int(speaker)) for start, end, speaker in values["turns"])
            pairs = tuple((int(speaker), int(reference)) for speaker, reference in values["reference_of"])
            bad = values["bad_reference"]
            return cls(turns, pairs, None if bad is None else int(bad), int(values["n_reference_voices"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BadMessage(repr(line[:100])) from error


READY = b"ready\n"


def _line(message: DiarizationJob | DiarizationResult) -> bytes:
    return json.dumps(asdict(message), separators=(",", ":")).encode() + b"\n"


def _values(line: bytes) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise BadMessage(repr(line[:100])) from error
    if not isinstance(values, dict):
        raise BadMessage(repr(line[:100]))
    return values


def _time(value: float) -> float:
    time_s = float(value)
    if not math.isfinite(time_s) or time_s < 0:
        raise ValueError(value)
    return time_s

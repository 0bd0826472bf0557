"""Writes a worker's samples to a memory file, which grows only as far as the server's budget allows."""

from __future__ import annotations

import os
from collections.abc import Callable

from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Samples

_MIN_STEP_BYTES = 1 << 20
_MAX_STEP_BYTES = 1 << 24
_MAX_FIRST_STEP_BYTES = 1 << 21
"""32 s: a header may lie."""


def first_step_bytes(length_s: float) -> int:
    """What to ask for when the header says the length (0: it does not): all of a clip, and a second for the codec's padding."""
    n_bytes = round((length_s + 1) * SAMPLE_RATE_HZ) * 4
    return min(n_bytes, _MAX_FIRST_STEP_BYTES) if length_s else 0


class BudgetRefused(Exception):
    """The server has no room for more samples."""


class SampleSink:
    """Appends samples to `fd`, asking `grow` before the file outgrows what was granted.

    Each step is half of the current size, between 1 MiB (16 s) and 16 MiB (4 minutes): few messages, little waste.
    """

    def __init__(self, fd: int, grow: Callable[[int], bool]) -> None:
        self._fd = fd
        self._grow = grow
        self.granted_bytes = 0
        """May be set before the first piece, to what was granted in another way."""
        self._n_bytes = 0

    @property
    def n_samples(self) -> int:
        return self._n_bytes // 4

    def write(self, piece: Samples) -> None:
        """Raises BudgetRefused."""
        rest = piece.data.cast("B")
        missing_bytes = self._n_bytes + len(rest) - self.granted_bytes
        if missing_bytes > 0:
            step_bytes = min(max(self.granted_bytes // 2, _MIN_STEP_BYTES), _MAX_STEP_BYTES)
            step_bytes = max(step_bytes, missing_bytes)
            if not self._grow(step_bytes):
                raise BudgetRefused
            self.granted_bytes += step_bytes
        while rest:
            n_written = os.pwrite(self._fd, rest, self._n_bytes)
            self._n_bytes += n_written
            rest = rest[n_written:]

"""The samples of a session that may still be needed, by their position in the whole stream. Pure."""

from __future__ import annotations

from collections import deque

import numpy as np

from whisper_server.whisper.transcript import Samples

_MIN_CAPACITY = 16_000


class SampleBuffer:
    """A window over a stream: samples are appended at its end and dropped at its start."""

    def __init__(self) -> None:
        self._samples = np.zeros(_MIN_CAPACITY, np.float32)
        self._first = 0
        """Index of the sample at position `start`."""
        self._n = 0
        self.start = 0
        """Position of the first sample that is held."""
        self._arrivals: deque[tuple[int, float]] = deque()
        """(end of the sound, when it arrived)."""

    @property
    def end(self) -> int:
        """Position behind the last sample."""
        return self.start + self._n

    @property
    def n_bytes(self) -> int:
        """Memory that is held."""
        return self._samples.nbytes

    def append(self, samples: Samples, now_s: float) -> None:
        """Add samples at the end, which arrive now."""
        needed = self._n + len(samples)
        if self._first + needed > len(self._samples):
            held = self._samples[self._first : self._first + self._n]
            capacity = max(_MIN_CAPACITY, needed + needed // 2)
            grown = np.empty(capacity, np.float32)
            grown[: self._n] = held
            self._samples, self._first = grown, 0
        begin = self._first + self._n
        self._samples[begin : begin + len(samples)] = samples
        self._n = needed
        self._arrivals.append((self.end, now_s))

    def drop_before(self, position: int) -> None:
        """Forget what is before `position`."""
        n_dropped = min(max(0, position - self.start), self._n)
        self._first += n_dropped
        self._n -= n_dropped
        self.start += n_dropped
        while self._arrivals and self._arrivals[0][0] < self.start:
            self._arrivals.popleft()

    def age_s(self, position: int, now_s: float) -> float:
        """Seconds since this sample arrived; 0 if it is no longer held."""
        arrived_s = now_s
        for end, at_s in reversed(self._arrivals):
            if end < position:
                break
            arrived_s = at_s
        return now_s - arrived_s

    def between(self, start: int, end: int) -> Samples:
        """The samples from `start` to `end`, as far as they are held; they stay as they are, whatever is appended or dropped."""
        first = min(max(0, start - self.start), self._n)
        stop = min(max(first, end - self.start), self._n)
        # No copy: a pass with its context has up to 1.7 MB.
        samples = self._samples[self._first + first : self._first + stop]
        samples.flags.writeable = False
        return samples

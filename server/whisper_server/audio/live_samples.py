"""Raw sound that arrives in pieces → mono float32 at 16 kHz: PCM of 16 bits, and G.711 as telephones send it.

No containers and no codecs: nothing here can be attacked, so it needs no sandbox. Files are decoded by `worker`.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import soxr

from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Samples


class RawFormat(StrEnum):
    """The formats of OpenAI's realtime API."""

    PCM = "audio/pcm"
    """16 bits, little-endian, 24 kHz."""
    PCMU = "audio/pcmu"
    """G.711 μ-law, 8 kHz."""
    PCMA = "audio/pcma"
    """G.711 A-law, 8 kHz."""


RATE_HZ = {RawFormat.PCM: 24_000, RawFormat.PCMU: 8_000, RawFormat.PCMA: 8_000}
STEP_BYTES = 48_000
"""Decoded at a time at most: a second of PCM."""
SAMPLE_BYTES = {RawFormat.PCM: 2, RawFormat.PCMU: 1, RawFormat.PCMA: 1}
_BYTES_PER_S = {raw_format: SAMPLE_BYTES[raw_format] * rate_hz for raw_format, rate_hz in RATE_HZ.items()}


class LiveSamples:
    """Decodes and resamples one stream. The resampler holds the last 30 to 70 ms back until more comes, or `flush`."""

    def __init__(self, raw_format: RawFormat, min_s: float = 0.0) -> None:
        """Less than `min_s` of sound waits for more: of 200 sessions, frames of 0.1 s took a third of the event loop one by one."""
        self.raw_format = raw_format
        self._min_s = min_s
        self._min_bytes = min_s * _BYTES_PER_S[raw_format]
        self._stream = self._new_stream()
        self._waiting = b""
        self.arrived_s = 0.0
        """When the first of what `steps` has given last arrived."""

    def _new_stream(self) -> soxr.ResampleStream:
        return soxr.ResampleStream(RATE_HZ[self.raw_format], SAMPLE_RATE_HZ, 1, "float32")

    def steps(self, data: bytes, now_s: float) -> Iterator[Samples]:
        """As `add`, of sound that arrives now, in steps of a millisecond or two. `arrived_s` is right at each step."""
        waits = len(self._waiting) >= SAMPLE_BYTES[self.raw_format]
        if waits and now_s - self.arrived_s > 2 * self._min_s:  # the client was silent: the two have different ages
            yield self.rest()
            waits = False
        if not waits:
            self.arrived_s = now_s
        for first in range(0, len(data), STEP_BYTES):
            yield self.add(data[first : first + STEP_BYTES])

    def add(self, data: bytes) -> Samples:
        """The samples that are whole now. A sample may be cut anywhere: its second byte may come later."""
        self._waiting += data
        if len(self._waiting) < self._min_bytes:
            return np.zeros(0, np.float32)
        return self.rest()

    def rest(self) -> Samples:
        """Those that waited for more."""
        n_whole = len(self._waiting) - len(self._waiting) % SAMPLE_BYTES[self.raw_format]
        data, self._waiting = self._waiting[:n_whole], self._waiting[n_whole:]
        return self._resampled(_decoded(data, self.raw_format), last=False)

    def flush(self) -> Samples:
        """What was held back: the sound ends here, or pauses. A sample of which half has come is dropped, else all behind it is noise."""
        self._waiting = b""
        rest = self._resampled(np.zeros(0, np.float32), last=True)
        self._stream = self._new_stream()
        return rest

    def _resampled(self, sound: Samples, *, last: bool) -> Samples:
        samples: Samples = self._stream.resample_chunk(sound, last=last)
        samples.clip(-1, 1, out=samples)
        return samples


def duration_s(n_bytes: int, raw_format: RawFormat) -> float:
    """Length of so many bytes."""
    return n_bytes / _BYTES_PER_S[raw_format]


def _decoded(data: bytes, raw_format: RawFormat) -> Samples:
    if raw_format is RawFormat.PCM:
        sound = np.frombuffer(data, "<i2").astype(np.float32)
        sound /= np.float32(2**15)
        return sound
    table = _ULAW if raw_format is RawFormat.PCMU else _ALAW
    return table[np.frombuffer(data, np.uint8)]


def _ulaw_table() -> npt.NDArray[np.float32]:
    """ITU-T G.711, μ-law: sign, exponent of 3 bits, mantissa of 4, all inverted."""
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    exponent, mantissa = code >> 4 & 7, code & 15
    magnitude = ((mantissa << 3) + 0x84 << exponent) - 0x84
    return (np.where(code & 0x80, -magnitude, magnitude) / 2**15).astype(np.float32)


def _alaw_table() -> npt.NDArray[np.float32]:
    """ITU-T G.711, A-law: sign, exponent of 3 bits, mantissa of 4, every second bit inverted."""
    code = np.arange(256, dtype=np.int32) ^ 0x55
    exponent, mantissa = code >> 4 & 7, code & 15
    magnitude = np.where(exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 0x108) << np.maximum(exponent - 1, 0))
    return (np.where(code & 0x80, magnitude, -magnitude) / 2**15).astype(np.float32)


_ULAW = _ulaw_table()
_ALAW = _alaw_table()

"""Raw sound that arrives in pieces → mono float32 at 16 kHz: PCM of 16 bits, and G.711 as telephones send it.

No containers and no codecs: nothing here can be attacked, so it needs no sandbox. Files are decoded by `worker`.
"""

from __future__ import annotations

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
SAMPLE_BYTES = {RawFormat.PCM: 2, RawFormat.PCMU: 1, RawFormat.PCMA: 1}


class LiveSamples:
    """Decodes and resamples one stream. The resampler holds the last 30 to 70 ms back until more comes, or `flush`."""

    def __init__(self, raw_format: RawFormat) -> None:
        self.raw_format = raw_format
        self._stream = self._new_stream()
        self._odd = b""

    def _new_stream(self) -> soxr.ResampleStream:
        return soxr.ResampleStream(RATE_HZ[self.raw_format], SAMPLE_RATE_HZ, 1, "float32")

    def add(self, data: bytes) -> Samples:
        """The samples that are whole now. A sample may be cut anywhere: its second byte may come later."""
        data = self._odd + data
        n_whole = len(data) - len(data) % SAMPLE_BYTES[self.raw_format]
        data, self._odd = data[:n_whole], data[n_whole:]
        return self._resampled(_decoded(data, self.raw_format), last=False)

    def flush(self) -> Samples:
        """What was held back: the sound ends here, or pauses."""
        rest = self._resampled(np.zeros(0, np.float32), last=True)
        self._stream = self._new_stream()
        return rest

    def _resampled(self, sound: Samples, *, last: bool) -> Samples:
        samples: Samples = self._stream.resample_chunk(sound, last=last)
        return np.clip(samples, -1, 1, out=samples)


def duration_s(n_bytes: int, raw_format: RawFormat) -> float:
    """Length of so many bytes."""
    return n_bytes / (SAMPLE_BYTES[raw_format] * RATE_HZ[raw_format])


def _decoded(data: bytes, raw_format: RawFormat) -> Samples:
    if raw_format is RawFormat.PCM:
        return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(2**15)
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

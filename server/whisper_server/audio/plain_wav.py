"""Plain wav files: one RIFF of 16-bit PCM with one channel, as most clients that record speech send it. Runs in a worker only.

FFmpeg reads them too, but in 450 packets for 30 s: 17 ms of processor time, of which the samples take 1. Whatever is
unusual about a file (its size, its chunks, its rate) leaves it to FFmpeg, which knows what to do or what to say.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from whisper_server.audio.resample import RATES_HZ, Block, Header
from whisper_server.audio.upload_reader import UploadReader
from whisper_server.audio.wav_length import Chunk, chunks

_PCM = 1
_SAMPLE_BYTES = 2


@dataclass(frozen=True)
class PlainWav:
    """An upload of which the header was read."""

    file: UploadReader
    rate_hz: int
    data: Chunk

    @property
    def header(self) -> Header:
        """The data chunk is there as a whole, so the length is exact."""
        return Header(self.rate_hz, 1, self.data.n_bytes / (self.rate_hz * _SAMPLE_BYTES))

    def blocks(self) -> Iterator[Block]:
        """All samples, a second at a time."""
        end = self.data.start + self.data.n_bytes
        step_bytes = self.rate_hz * _SAMPLE_BYTES
        for start in range(self.data.start, end, step_bytes):
            content = self.file.read_at(start, min(step_bytes, end - start))
            yield Block(np.frombuffer(content, "<i2").reshape(1, -1), self.rate_hz)


def plain_wav(file: UploadReader) -> PlainWav | None:
    """The file, if it is plain; None if FFmpeg must read it."""
    magic = file.read_at(0, 12)
    if file.is_patched or magic[:4] != b"RIFF" or magic[8:12] != b"WAVE":
        return None
    rate_hz = 0
    data: list[Chunk] = []
    for chunk in chunks(file, "<"):
        if chunk.id == b"fmt " and not data:
            rate_hz = _rate_hz(file.read_at(chunk.start, min(chunk.n_bytes, 16)))
        elif chunk.id == b"data":
            data.append(chunk)
    if rate_hz not in RATES_HZ or len(data) != 1:
        return None
    n_bytes, is_whole = data[0].n_bytes, data[0].start + data[0].n_bytes <= file.n_bytes
    return PlainWav(file, rate_hz, data[0]) if n_bytes and n_bytes % _SAMPLE_BYTES == 0 and is_whole else None


def _rate_hz(fmt: bytes) -> int:
    """0 if the format is not 16-bit PCM with one channel."""
    if len(fmt) < 16:
        return 0
    tag, n_channels, rate_hz, _, frame_bytes, n_bits = struct.unpack("<HHIIHH", fmt)
    is_plain = (tag, n_channels, frame_bytes, n_bits) == (_PCM, 1, _SAMPLE_BYTES, 8 * _SAMPLE_BYTES)
    return int(rate_hz) if is_plain else 0

"""The length that a wav file declares, and the length that its bytes hold: from the header alone.

FFmpeg hides a wrong length (it takes the file's size instead), so the chunks are read here.
Pure: no decoding. Covers RIFF, RIFX, RF64 and BW64.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from whisper_server.audio.upload_reader import UploadReader

_STREAMING_FROM = 0x7FFF_0000
"""Writers that cannot seek back leave 0, 0xFFFFFFFF (ffmpeg), 0x7FFFF000 (sox), 0x7FFF0000 (GStreamer) …"""
_FIXED_SIZE_FORMATS = {0x0001, 0x0003, 0x0006, 0x0007, 0xFFFE}
"""PCM, float, A-law, µ-law, extensible: each frame has nBlockAlign bytes."""
_MAX_CHUNKS = 1_000


@dataclass(frozen=True)
class WavLength:
    """The length in the header, and that of the bytes that are present."""

    declared_s: float
    held_s: float


@dataclass(frozen=True)
class Chunk:
    """A RIFF chunk; `start` is the position of its content."""

    id: bytes
    start: int
    n_bytes: int


def wav_length(file: UploadReader) -> WavLength | None:
    """None: the length is unknown (a streamed file, or a format without a fixed rate), or this is no wav file."""
    magic = file.read_at(0, 12)
    if magic[:4] not in (b"RIFF", b"RIFX", b"RF64", b"BW64") or magic[8:12] != b"WAVE":
        return None
    order = ">" if magic[:4] == b"RIFX" else "<"
    bytes_per_s = 0
    data_bytes_64 = 0
    for chunk in chunks(file, order):
        if chunk.id == b"ds64":
            ds64 = file.read_at(chunk.start, 16)
            data_bytes_64 = struct.unpack_from("<8xQ", ds64)[0] if len(ds64) == 16 else 0
        elif chunk.id == b"fmt ":
            bytes_per_s = _bytes_per_s(file.read_at(chunk.start, 16), order)
        elif chunk.id == b"data":
            is_64 = magic[:4] in (b"RF64", b"BW64") and chunk.n_bytes == 0xFFFF_FFFF
            declared = data_bytes_64 if is_64 else chunk.n_bytes
            unknown = declared == 0 or (declared >= _STREAMING_FROM and not is_64)
            if unknown or not bytes_per_s:
                return None
            held = min(declared, max(0, file.n_bytes - chunk.start))
            return WavLength(declared / bytes_per_s, held / bytes_per_s)
    return None


def data_chunk(file: UploadReader) -> Chunk | None:
    """The chunk with the samples of a RIFF or RIFX file."""
    order = ">" if file.read_at(0, 4) == b"RIFX" else "<"
    return next((chunk for chunk in chunks(file, order) if chunk.id == b"data"), None)


def chunks(file: UploadReader, order: str) -> Iterator[Chunk]:
    """All chunks of a wav file; `order`: `<`, or `>` for RIFX."""
    position = 12
    for _ in range(_MAX_CHUNKS):
        header = file.read_at(position, 8)
        if len(header) < 8:
            return
        chunk_id, n_bytes = struct.unpack(f"{order}4sI", header)
        yield Chunk(chunk_id, position + 8, n_bytes)
        position += 8 + n_bytes + n_bytes % 2


def _bytes_per_s(fmt: bytes, order: str) -> int:
    if len(fmt) < 16:
        return 0
    tag, _, rate_hz, average_bytes_per_s, block_bytes, _ = struct.unpack(f"{order}HHIIHH", fmt)
    # nAvgBytesPerSec is often wrong where players do not need it, so it is used only where nothing else gives the rate.
    return int(rate_hz * block_bytes) if tag in _FIXED_SIZE_FORMATS else int(average_bytes_per_s)

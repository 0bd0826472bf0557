"""Wav files that are not one clean RIFF chunk: after an ID3 tag, one behind the other, or with a placeholder size.

FFmpeg refuses the first, reads only the first file of the second, and takes the size literally in the third.
"""

from __future__ import annotations

import struct

from whisper_server.audio.upload_reader import UploadReader
from whisper_server.audio.wav_length import data_chunk, wav_length

_MAX_PARTS = 1_000
_PLACEHOLDER_S = 0.1
"""A data chunk that declares less than this, with more behind it, was never given its size: some recorders leave 42
or 36 bytes there. No shorter recording is transcribed anyway."""


def wav_parts(file: UploadReader) -> list[UploadReader] | None:
    """The wav files in `file`, one behind the other; None if it holds none."""
    start = _after_id3(file)
    if not _is_wav(file, start):
        return None
    parts = []
    for _ in range(_MAX_PARTS):
        order = ">" if file.read_at(start, 4) == b"RIFX" else "<"
        (n_bytes,) = struct.unpack(f"{order}I", file.read_at(start + 4, 4))
        end = start + 8 + n_bytes + n_bytes % 2
        if not _is_wav(file, end):
            break
        parts.append(file.part(start, end))
        start = end
    return [*parts, _without_placeholder(file.part(start, file.n_bytes))]


def _after_id3(file: UploadReader) -> int:
    header = file.read_at(0, 10)
    if header[:3] != b"ID3" or len(header) < 10:
        return 0
    n_bytes = 0
    for byte in header[6:10]:  # four times seven bits
        n_bytes = n_bytes << 7 | byte & 0x7F
    has_footer = bool(header[5] & 0x10)
    return 10 + n_bytes + 10 * has_footer


def _is_wav(file: UploadReader, start: int) -> bool:
    magic = file.read_at(start, 12)
    return magic[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and magic[8:12] == b"WAVE"


def _without_placeholder(file: UploadReader) -> UploadReader:
    length, chunk = wav_length(file), data_chunk(file)
    if length is None or chunk is None or length.declared_s >= _PLACEHOLDER_S:
        return file
    if file.n_bytes <= chunk.start + chunk.n_bytes + _PLACEHOLDER_S * chunk.n_bytes / length.declared_s:
        return file
    return file.patched(chunk.start - 4, bytes(4))  # 0: FFmpeg reads to the end of the file

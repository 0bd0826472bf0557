"""Recordings in files that hide their speech: a late track, a silent first track, opposite phases, a wrong size."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.frame import VideoFrame

from real_kit.speech import RATE_HZ, Sound, wav

_PICTURES_PER_S = 10
_OPUS_RATE_HZ = 48_000


@dataclass(frozen=True)
class Track:
    """Sound of a file that begins `start_s` after the file does."""

    sound: Sound
    start_s: float = 0.0


def matroska(tracks: Sequence[Track], picture_s: float = 0.0) -> bytes:
    """An mkv of opus tracks and, where `picture_s` is above 0, a black picture from 0 on."""
    return _container("matroska", "libopus", tracks, picture_s)


def mp4(tracks: Sequence[Track], picture_s: float = 0.0) -> bytes:
    """An mp4 of aac tracks and, where `picture_s` is above 0, a black picture from 0 on."""
    return _container("mp4", "aac", tracks, picture_s)


def opposite_phases(sound: Sound) -> bytes:
    """A stereo wav whose channels cancel each other."""
    head = bytearray(wav(np.stack([sound, -sound], axis=1).reshape(-1)))
    struct.pack_into("<HIIH", head, 22, 2, RATE_HZ, RATE_HZ * 4, 4)
    return bytes(head)


def wav_of_size_42(sound: Sound) -> bytes:
    """A wav whose header was written before its sound was known: 42 bytes of data, 42 in all."""
    file = bytearray(wav(sound))
    struct.pack_into("<I", file, 4, 42)
    struct.pack_into("<I", file, 40, 42)
    return bytes(file)


def with_id3(file: bytes) -> bytes:
    """The file after an empty ID3v2.4 tag of 128 bytes, as some recorders write before RIFF."""
    return b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128) + file


def _container(kind: str, codec: str, tracks: Sequence[Track], picture_s: float) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        picture = container.add_stream("mpeg4", rate=_PICTURES_PER_S) if picture_s else None
        if picture is not None:
            picture.width = picture.height = 64
            picture.pix_fmt = "yuv420p"
        streams = [container.add_stream(codec, rate=_OPUS_RATE_HZ, layout="mono") for _ in tracks]
        for number in range(round(picture_s * _PICTURES_PER_S) if picture is not None else 0):
            assert picture is not None
            frame = VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))
            frame.pts, frame.time_base = number, Fraction(1, _PICTURES_PER_S)
            container.mux(picture.encode(frame))
        for stream, track in zip(streams, tracks, strict=True):
            assert isinstance(stream, AudioStream)
            sound = np.repeat(track.sound, _OPUS_RATE_HZ // RATE_HZ)
            n_frame = stream.codec_context.frame_size or 960
            for first in range(0, len(sound) - n_frame, n_frame):
                block = AudioFrame.from_ndarray(sound[None, first : first + n_frame], "fltp", "mono")
                block.sample_rate, block.time_base = _OPUS_RATE_HZ, Fraction(1, _OPUS_RATE_HZ)
                block.pts = round(track.start_s * _OPUS_RATE_HZ) + first
                container.mux(stream.encode(block))
            container.mux(stream.encode(None))
        if picture is not None:
            container.mux(picture.encode(None))
    return file.getvalue()

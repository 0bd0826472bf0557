"""Signals written as files: by libsndfile (wav and its kin) and by FFmpeg's muxers and encoders (PyAV)."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import av
import numpy as np
import numpy.typing as npt
import soundfile
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

from audio_kit.signals import Signal


def by_libsndfile(signal: Signal, rate_hz: int, container: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, signal, rate_hz, format=container, subtype=subtype)
    return file.getvalue()


def wav(signal: Signal, rate_hz: int, subtype: str = "PCM_16") -> bytes:
    return by_libsndfile(signal, rate_hz, "WAV", subtype)


def by_ffmpeg(
    signal: Signal,
    rate_hz: int,
    container: str,
    codec: str,
    *,
    bit_rate: int = 0,
    options: dict[str, str] | None = None,
    seekable: bool = True,
) -> bytes:
    """`seekable=False`: as a pipe would get it."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "file")  # a real one: `movflags=faststart` reads back what it wrote
        pipe = _Pipe()
        with av.open(path if seekable else pipe, "w", format=container, options=options or {}) as output:
            for packet in encoded(output, signal, rate_hz, codec, bit_rate=bit_rate):
                output.mux(packet)
        return path.read_bytes() if seekable else pipe.getvalue()


def encoded(
    output: OutputContainer, signal: Signal, rate_hz: int, codec: str, *, bit_rate: int = 0
) -> list[Packet[AudioStream]]:
    """A new audio stream of `output`, and its packets."""
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[signal.shape[1]]
    stream = cast(AudioStream, output.add_stream(codec, rate=rate_hz))
    stream.codec_context.layout = layout
    if bit_rate:
        stream.codec_context.bit_rate = bit_rate
    resampler = av.AudioResampler(stream.codec_context.format, layout, rate_hz)
    packets: list[Packet[AudioStream]] = []
    n_block = rate_hz // 10
    for start in range(0, len(signal), n_block):
        block = np.ascontiguousarray(signal[start : start + n_block].reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(block, "flt", layout)
        frame.sample_rate = rate_hz
        frame.time_base = Fraction(1, rate_hz)
        frame.pts = start
        for resampled in resampler.resample(frame):
            packets += stream.encode(resampled)
    for resampled in resampler.resample(None):
        packets += stream.encode(resampled)
    packets += stream.encode(None)
    return packets


class _Pipe(io.BytesIO):
    """A file that its writer cannot go back in."""

    seek = None  # type: ignore[assignment]
    tell = None  # type: ignore[assignment]


def with_wav_sizes(file: bytes, *, data_bytes: int) -> bytes:
    """A wav file whose header states another length."""
    at = file.index(b"data") + 4
    riff_bytes = min(data_bytes + at - 4, 0xFFFF_FFFF) if data_bytes else 0
    return b"".join(
        (file[:4], struct.pack("<I", riff_bytes), file[8:at], struct.pack("<I", data_bytes), file[at + 4 :])
    )


def with_flac_samples(file: bytes, n_samples: int) -> bytes:
    """A flac file whose STREAMINFO states another number of samples."""
    changed = bytearray(file)
    changed[21] = (changed[21] & 0xF0) | (n_samples >> 32)
    changed[22:26] = struct.pack(">I", n_samples & 0xFFFF_FFFF)
    return bytes(changed)


def with_video(signal: Signal, rate_hz: int, container: str) -> bytes:
    """Sound beside a second of moving picture."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "file")
        with av.open(path, "w", format=container) as output:
            video = output.add_stream("mpeg4", rate=10)
            video.width, video.height = 64, 48
            packets = encoded(output, signal, rate_hz, "libmp3lame" if container == "avi" else "aac")
            for n in range(10):
                picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), n * 20, np.uint8))
                output.mux(video.encode(picture))
            output.mux(video.encode(None))
            for packet in packets:
                output.mux(packet)
        return path.read_bytes()


_SUBTITLE_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def with_all_kinds_of_streams(signal: Signal, rate_hz: int, container: str) -> bytes:
    """Sound with moving picture, subtitles and chapters, in Matroska with an attached file too."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "file")
        with av.open(path, "w", format=container) as output:
            output.set_chapters(
                [{"id": 1, "start": 0, "end": 1_000, "time_base": Fraction(1, 1_000), "metadata": {"title": "one"}}]
            )
            video = output.add_stream("mpeg4", rate=10)
            video.width, video.height = 64, 48
            words = output.add_stream("subrip" if container == "matroska" else "mov_text")
            words.codec_context.subtitle_header = _SUBTITLE_HEADER
            if container == "matroska":
                output.add_attachment("notes.ttf", "font/ttf", b"data")
            packets = encoded(output, signal, rate_hz, "aac")
            for n in range(20):
                output.mux(video.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), n * 10, np.uint8))))
            output.mux(video.encode(None))
            subtitle = av.Packet(b"Hello" if container == "matroska" else b"\0\5Hello")
            subtitle.stream = words
            subtitle.time_base = Fraction(1, 1_000)
            subtitle.pts = subtitle.dts = 0
            subtitle.duration = 1_500
            output.mux(subtitle)
            for packet in packets:
                output.mux(packet)
        return path.read_bytes()


def video_only(container: str) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, "file")
        with av.open(path, "w", format=container) as output:
            video = output.add_stream("mpeg4", rate=10)
            video.width, video.height = 64, 48
            for n in range(10):
                output.mux(video.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), n * 20, np.uint8))))
            output.mux(video.encode(None))
        return path.read_bytes()


def with_tracks(signals: list[Signal], rate_hz: int, container: str) -> bytes:
    """Each signal in an audio track of its own."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "file")
        with av.open(path, "w", format=container) as output:
            for packets in [encoded(output, signal, rate_hz, "aac") for signal in signals]:
                for packet in packets:
                    output.mux(packet)
        return path.read_bytes()


def with_late_sound(signal: Signal, rate_hz: int, container: str, *, late_s: float) -> bytes:
    """Moving picture from the start, sound only after `late_s`."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "file")
        with av.open(path, "w", format=container) as output:
            video = output.add_stream("mpeg4", rate=10)
            video.width, video.height = 64, 48
            packets = encoded(output, signal, rate_hz, "aac")
            for n in range(round(10 * late_s) + 20):
                output.mux(video.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), n % 20, np.uint8))))
            output.mux(video.encode(None))
            for packet in packets:
                assert packet.pts is not None
                packet.pts += round(late_s / packet.time_base)
                packet.dts = packet.pts
                output.mux(packet)
        return path.read_bytes()


def with_gap(signal: Signal, rate_hz: int, container: str, *, gap_at_s: float, gap_s: float) -> bytes:
    """Time stamps jump ahead by `gap_s`; no packet fills the gap."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "file")
        with av.open(path, "w", format=container) as output:
            for packet in encoded(output, signal, rate_hz, "libopus"):
                if packet.pts is not None and packet.pts * packet.time_base >= gap_at_s:
                    shift = round(gap_s / packet.time_base)
                    packet.pts += shift
                    packet.dts = packet.pts
                output.mux(packet)
        return path.read_bytes()


@cache
def hours_of_silence(hours: float) -> bytes:
    """Opus that is all but nothing on disk."""
    return _opus_over_and_over(np.zeros(_OPUS_FRAME, np.int16), 500, round(hours * 3_600 / 0.12))


def hours_of_noise(n_bytes: int) -> bytes:
    """Opus of this size, about 11 kbit/s."""
    noise = (np.random.default_rng(0).standard_normal(_OPUS_FRAME) * 3_000).astype(np.int16)
    frame_bytes = len(_opus_over_and_over(noise, 11_000, 1_000)) / 1_000
    return _opus_over_and_over(noise, 11_000, int(n_bytes / frame_bytes))


_OPUS_FRAME = 48_000 * 12 // 100


def _opus_over_and_over(samples: npt.NDArray[np.int16], bit_rate: int, n_frames: int) -> bytes:
    """The same 0.12 s again and again, encoded once."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "file")
        with av.open(path, "w", format="ogg") as output:
            stream = output.add_stream("libopus", rate=48_000)
            stream.codec_context.layout = "mono"
            stream.codec_context.bit_rate = bit_rate
            stream.codec_context.options = {"frame_duration": "120", "vbr": "on"}
            frame = av.AudioFrame.from_ndarray(samples[None, :], "s16", "mono")
            frame.sample_rate = 48_000
            frame.pts = 0
            first, second = (stream.encode(frame) + stream.encode(None))[:2]
            data = bytes(second)
            for n in range(n_frames):
                packet = first if n == 0 else av.Packet(data)
                packet.stream = stream
                packet.time_base = Fraction(1, 48_000)
                packet.pts = packet.dts = n * _OPUS_FRAME
                packet.duration = _OPUS_FRAME
                output.mux(packet)
        return path.read_bytes()


def quicktime_with_external_data(movie: bytes, path: str) -> bytes:
    """The index of a movie whose sound lies, as it says, in the file at `path`.

    FFmpeg does read that file, with `enable_drefs` and `use_absolute_path`.
    """
    at = movie.index(b"dref") - 4
    old_bytes = int.from_bytes(movie[at : at + 4], "big")
    name = path.encode()
    alias = bytearray(150)
    alias[8:10] = (2).to_bytes(2, "big")
    filename = name.rsplit(b"/", 1)[1]
    alias[50:51] = bytes([len(filename)])
    alias[51 : 51 + len(filename)] = filename
    for kind in (2, 18):  # the path, by both its names
        alias += kind.to_bytes(2, "big") + len(name).to_bytes(2, "big") + name + b"\0" * (len(name) % 2)
    alias += b"\xff\xff\0\0"
    entry = b"alis" + b"\0\0\0\0" + bytes(alias)
    entry = (len(entry) + 4).to_bytes(4, "big") + entry
    dref = b"dref" + b"\0\0\0\0" + (1).to_bytes(4, "big") + entry
    dref = (len(dref) + 4).to_bytes(4, "big") + dref
    grown = len(dref) - old_bytes
    changed = bytearray(movie[:at] + dref + movie[at + old_bytes :])
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        position = changed.index(box) - 4
        changed[position : position + 4] = (int.from_bytes(changed[position : position + 4], "big") + grown).to_bytes(
            4, "big"
        )
    return bytes(changed[: changed.index(b"mdat") - 4])

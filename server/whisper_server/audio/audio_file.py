"""An uploaded file as FFmpeg (PyAV) opens and decodes it. Runs in a worker only.

Only the formats and codecs named here are ever tried: no playlist, no `concat`, no network, no video
decoder. A file that names another file or an address does not get it read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from whisper_server.audio.frames import block_frames, join, kind_of
from whisper_server.audio.resample import RATES_HZ, Block, Header, MonoMixer, Silence
from whisper_server.audio.upload_reader import UploadReader
from whisper_server.errors import InvalidAudio

FORMATS = (
    "wav,w64,aiff,caf,au,flac,mp3,ogg,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,aac,ac3,eac3,amr,amrnb,amrwb,"
    "asf,avi,flv,mpegts,mpeg,wv,tta,voc"
)
CODECS = (
    "aac,aac_latm,ac3,eac3,adpcm_g722,adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,adpcm_swf,adpcm_yamaha,alac,amrnb,amrwb,flac,"
    "g722,gsm,gsm_ms,libopencore_amrnb,libopencore_amrwb,libopus,mp1,mp1float,mp2,mp2float,mp3,mp3float,nellymoser,opus,"
    "pcm_alaw,pcm_f32be,pcm_f32le,pcm_f64be,pcm_f64le,pcm_mulaw,pcm_s16be,pcm_s16le,pcm_s24be,pcm_s24le,pcm_s32be,"
    "pcm_s32le,pcm_s8,pcm_u8,speex,tta,vorbis,wavpack,wmapro,wmav1,wmav2,wmavoice"
)
_DECLARES_LENGTH = ("flac", "aiff", "mov,mp4,m4a,3gp,3g2,mj2")
"""Formats whose header states the length (wav's is read by `wav_length`: FFmpeg corrects it silently)."""
_HAS_TIME_LINE = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "ogg")
_MIN_GAP_S = 0.2
_MAX_GAP_S = 30.0
"""A longer one is a joint, not a gap: people put the head of a webm stream before a later piece of it."""
_MAX_LATE_START_S = 600.0
"""How long after the picture the sound may start. A longer distance is taken for a wrong time stamp."""
_SILENT_PEAK = 0.001
"""−60 dB. A track that stays below is not taken where another one does not."""
_MAX_EXAMINED_S = 600.0
"""How far a track of several is examined. Decoding ten minutes costs a second or two of the job's ten."""
_MAX_READ_ERRORS = 1_000
_NOT_AUDIO = (
    "The file is not audio that this server can read. Send wav, flac, mp3, ogg, opus, m4a, mp4 or webm, complete and "
    "in its own format (the file name does not matter)."
)


@dataclass
class AudioFile:
    """An open file and one of its audio streams; counts good and damaged frames."""

    container: InputContainer
    stream: AudioStream
    declared_s: float | None
    reached_s: float = 0.0
    """The end of the last frame on the recording's own time line, or the sum of all frames, whichever is later."""
    n_good: int = 0
    n_bad: int = 0

    @classmethod
    def open(cls, file: UploadReader, track: int | None = None) -> AudioFile:
        """`track`: the index of a stream; None: the one that FFmpeg finds best. Raises InvalidAudio."""
        file.seek(0)
        try:
            container = av.open(
                file,
                "r",
                container_options={
                    "format_whitelist": FORMATS,
                    "codec_whitelist": CODECS,
                    "protocol_whitelist": "none",
                    "enable_drefs": "0",
                    "max_streams": "64",
                    # More would search plain PCM for hidden codecs: 20 ms a file, and noise is taken for DTS.
                    "max_probe_packets": "1",
                },
                metadata_errors="replace",
                io_open=_open_nothing,
            )
        except (av.FFmpegError, ValueError) as error:
            raise InvalidAudio(_NOT_AUDIO) from error
        try:
            stream = _audio_stream(container, track)
            declared_s = None
            if container.format.name in _DECLARES_LENGTH and stream.duration and stream.time_base:
                declared_s = float(stream.duration * stream.time_base)
        except BaseException:
            container.close()
            raise
        return cls(container, stream, declared_s)

    @property
    def header(self) -> Header:
        """As FFmpeg reads it."""
        context = self.stream.codec_context
        length_s = self.declared_s or max(0.0, (self.container.duration or 0) / av.time_base)
        return Header(context.sample_rate, context.channels, length_s)

    def blocks(self) -> Iterator[Block | Silence]:
        """Everything that can be decoded, in blocks of about a second, gaps as silence."""
        frames: list[AudioFrame] = []
        n_waiting = 0
        for item in self._time_line():
            kind = None if isinstance(item, float) else (item.format.name, item.layout.nb_channels, item.sample_rate)
            if frames and (kind != kind_of(frames[0]) or n_waiting >= block_frames(frames[0])):
                yield join(frames)
                frames, n_waiting = [], 0
            if isinstance(item, float):
                yield Silence(item)
            else:
                frames.append(item)
                n_waiting += item.samples
        if frames:
            yield join(frames)

    def _time_line(self) -> Iterator[AudioFrame | float]:
        """Frames, and seconds of silence where the file's time stamps jump ahead."""
        has_time_line = self.container.format.name in _HAS_TIME_LINE
        start_s: float | None = None
        decoded_s = 0.0
        for frame in self._frames():
            if has_time_line and frame.time is not None:
                if start_s is None:
                    start_s = frame.time
                    late_s = self._late_start_s(frame.time)
                    if late_s > _MIN_GAP_S:
                        yield late_s
                        start_s -= late_s
                        decoded_s += late_s
                        self.declared_s = None if self.declared_s is None else self.declared_s + late_s
                gap_s = frame.time - start_s - decoded_s
                if gap_s > _MAX_GAP_S:
                    start_s += gap_s
                elif gap_s > _MIN_GAP_S:
                    yield gap_s
                    decoded_s += gap_s
            yield frame
            decoded_s += frame.samples / frame.sample_rate
            self.reached_s = max(self.reached_s, decoded_s)

    def _late_start_s(self, first_frame_s: float) -> float:
        """How long after the picture or another stream the sound starts: players count time from the earliest."""
        start = cast("int | None", self.container.start_time)  # PyAV's stub leaves the None out
        if start is None or len(self.container.streams) == 1:
            return 0.0
        late_s = first_frame_s - start / av.time_base
        return late_s if late_s <= _MAX_LATE_START_S else 0.0

    def _frames(self) -> Iterator[AudioFrame]:
        """The frames that can be decoded; damaged packets are skipped and counted."""
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                if isinstance(error, MemoryError):
                    raise
                self.n_bad += 1
                continue
            for frame in frames:
                if not frame.samples:
                    continue
                if frame.sample_rate not in RATES_HZ:
                    raise InvalidAudio(
                        f"The file has a sampling rate of {frame.sample_rate} Hz; "
                        f"{RATES_HZ[0]} to {RATES_HZ[-1]} Hz can be read."
                    )
                self.n_good += 1
                yield frame

    def _packets(self) -> Iterator[Packet[AudioStream]]:
        """Packets to the end of the file, the flushing one included; goes on after a damaged place."""
        for _ in range(_MAX_READ_ERRORS):
            try:
                yield from self.container.demux(self.stream)
                return
            except av.EOFError:
                return
            except IndexError:
                # PyAV trips over a stream that turns up in mid-file (flv, mpegts); asked again, it knows it.
                continue
            except av.FFmpegError as error:
                if isinstance(error, MemoryError):
                    raise
                self.n_bad += 1

    def close(self) -> None:
        self.container.close()


def open_audible(file: UploadReader, on_header: Callable[[Header], None] = lambda _header: None) -> AudioFile:
    """The best audio track that has sound, or the best one if none has. Raises InvalidAudio.

    Files with several tracks are decoded twice, up to the first sound in them.
    """
    best = AudioFile.open(file)
    on_header(best.header)
    tracks = [best.stream.index, *(stream.index for stream in best.container.streams.audio if stream != best.stream)]
    if len(tracks) == 1:
        return best
    best.close()
    return AudioFile.open(file, next((track for track in tracks if _has_sound(file, track)), tracks[0]))


def _has_sound(file: UploadReader, track: int) -> bool:
    try:
        with closing(AudioFile.open(file, track)) as audio_file:
            mixer = MonoMixer()
            for block in audio_file.blocks():
                if isinstance(block, Block) and np.abs(mixer.mix(block.values)).max(initial=0) > _SILENT_PEAK:
                    return True
                if audio_file.reached_s > _MAX_EXAMINED_S:
                    return False
    except InvalidAudio:
        pass
    return False


def _audio_stream(container: InputContainer, track: int | None) -> AudioStream:
    stream: Stream | None = container.streams.best("audio") if track is None else container.streams[track]
    if stream is None:
        raise InvalidAudio("The file holds no audio stream.")
    if not isinstance(stream, AudioStream) or stream.codec_context is None:
        raise InvalidAudio("The file's audio stream is of a kind that this server cannot decode.")
    if stream.codec_context.name not in CODECS.split(","):
        raise InvalidAudio(f"The file's audio codec, {stream.codec_context.name}, is not one that this server decodes.")
    stream.codec_context.thread_count = 1
    return stream


def _open_nothing(*_address: object) -> None:
    raise PermissionError("an upload may not open other files")

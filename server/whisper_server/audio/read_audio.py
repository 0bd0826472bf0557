"""One uploaded file → pieces of mono float32 at 16 kHz, or a refusal. Runs in a worker only.

A generator: the caller decides where the samples go, and nothing is decoded before the caller asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing

from whisper_server.audio.audio_file import AudioFile, open_audible
from whisper_server.audio.limits import DecoderLimits
from whisper_server.audio.ogg_links import ogg_links
from whisper_server.audio.plain_wav import plain_wav
from whisper_server.audio.resample import Block, Header, Mixer, Silence, resample
from whisper_server.audio.upload_reader import UploadReader
from whisper_server.audio.wav_length import wav_length
from whisper_server.audio.wav_parts import wav_parts
from whisper_server.errors import InvalidAudio
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Samples

_MISSING_S = 1.0
"""A file that lacks no more than this of its declared length is whole enough."""


def read_audio(
    file: UploadReader,
    limits: DecoderLimits,
    on_header: Callable[[Header], None] = lambda _header: None,
    mixer: Mixer | None = None,
) -> Iterator[Samples]:
    """Raises InvalidAudio, AudioTooShort, AudioTooLong; the samples yielded before an error are then void.

    `on_header` is called before anything is decoded. `mixer` makes mono sound of the channels, and may raise BadRequest.
    """
    first_part, *later_parts = wav_parts(file) or ogg_links(file)
    plain = None if later_parts else plain_wav(first_part)
    if plain is not None:
        on_header(plain.header)
        limits.check_not_too_long(plain.header.length_s)
        limits.check_not_too_short((yield from _resampled(plain.blocks(), limits, mixer)))
        return
    with closing(open_audible(first_part, on_header)) as recording:
        length = wav_length(first_part) if recording.container.format.name == "wav" else None
        if length is not None:
            _check_complete(length.declared_s, length.held_s)
            limits.check_not_too_long(length.held_s)
        n_samples = yield from _resampled(_blocks(recording, later_parts), limits, mixer)
        if recording.declared_s is not None:
            _check_complete(recording.declared_s, recording.reached_s)
        _check_sound(recording)
        limits.check_not_too_short(n_samples)


def _resampled(
    blocks: Iterable[Block | Silence], limits: DecoderLimits, mixer: Mixer | None
) -> Generator[Samples, None, int]:
    """Returns the number of samples. Raises AudioTooLong, BadRequest."""
    n_samples = 0
    for piece in resample(blocks, mixer):
        n_samples += len(piece)
        limits.check_not_too_long(n_samples / SAMPLE_RATE_HZ)
        if len(piece):
            yield piece
    return n_samples


def _blocks(recording: AudioFile, later_parts: list[UploadReader]) -> Iterator[Block | Silence]:
    yield from recording.blocks()
    for part in later_parts:
        try:
            with closing(open_audible(part)) as later:
                yield from later.blocks()
        except InvalidAudio:
            recording.n_bad += 1  # a damaged part, after which another may follow
            continue
        recording.n_good += later.n_good
        recording.n_bad += later.n_bad


def _check_complete(declared_s: float, held_s: float) -> None:
    if declared_s - held_s > _MISSING_S:
        raise InvalidAudio(
            f"The file is incomplete: its header declares {declared_s:.1f} s of audio, "
            f"but it holds {held_s:.1f} s. Send the whole file."
        )


def _check_sound(recording: AudioFile) -> None:
    if recording.n_good == 0:
        raise InvalidAudio("The file holds no audio: not one sample of it could be decoded.")
    if recording.n_bad > recording.n_good:
        raise InvalidAudio("The file is damaged: more of its audio is broken than can be decoded.")

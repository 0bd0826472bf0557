"""A decoded file as the pipeline takes it: one sound, or the channels of a file, each with its speaker.

What HTTP and the command line share of a request between its file and its transcription. No HTTP, no formats.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass
from typing import Self

from whisper_server.audio.channels import read_channels
from whisper_server.audio.memory_file import MemoryFile
from whisper_server.errors import BadRequest
from whisper_server.memory.budget import Reservation
from whisper_server.service import Decoder, Pipeline, Transcription
from whisper_server.speech.multichannel import MultichannelTranscription
from whisper_server.whisper.transcript import Options, Samples


@dataclass
class Recording:
    """Leaving it as a context manager frees the samples."""

    duration_s: float
    sounds: tuple[tuple[str | None, Samples], ...]
    """(speaker, samples) of what is transcribed; one without a speaker unless channels are asked for."""
    _open: ExitStack

    @property
    def audio_s(self) -> float:
        """Seconds of sound that are transcribed: the sum of all channels."""
        return sum((self.duration_s for _ in self.sounds), 0.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sounds = ()  # the pages go with the last reference to them
        self._open.close()


async def decode_recording(
    decoder: Decoder, file: MemoryFile, options: Options, new_reservation: Callable[[], Reservation], owner: str = ""
) -> Recording:
    """Decode `file`, each channel by itself where the options ask for it. Raises ApiError."""
    with ExitStack() as opening:
        if options.multichannel:
            channels = opening.enter_context(await read_channels(decoder, file, new_reservation, owner))
            names = options.speaker_names
            if len(names) > channels.n_channels:
                raise BadRequest(
                    f"known_speaker_names has {len(names)} names, and the recording has {channels.n_channels} channels; "
                    "give at most one name per channel.",
                    param="known_speaker_names",
                )
            speakers = [*names, *(f"channel_{number}" for number in range(len(names), channels.n_channels))]
            sounds = tuple((speakers[number], sound.samples) for number, sound in channels.kept.items())
            return Recording(channels.duration_s, sounds, opening.pop_all())
        sound = opening.enter_context(await decoder.read_audio(file, new_reservation(), owner))
        return Recording(sound.duration_s, ((None, sound.samples),), opening.pop_all())


def transcribe_recording(
    pipeline: Pipeline, recording: Recording, options: Options, owner: str = ""
) -> AbstractAsyncContextManager[Transcription]:
    """The transcription of `recording`, not started. Raises BadRequest for a language that the model lacks."""
    if not options.multichannel:
        return pipeline.transcribe(recording.sounds[0][1], options, owner)
    return MultichannelTranscription(
        [(speaker or "", pipeline.transcribe(samples, options, owner)) for speaker, samples in recording.sounds]
    )

"""A recording transcribed while its speakers are found: references decoded, both kinds of work ended together.

Routes and command line share it. `diarization` finds the turns, `whisper.speakers` joins them with the words.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager
from typing import Any

from whisper_server.api.speakers import SpeakersSpec, check_reference_length, unreadable_reference
from whisper_server.audio.memory_file import MemoryFile
from whisper_server.diarization.diarizer import KnownSpeaker, SpeakerQuestion
from whisper_server.errors import BadRequest, InvalidAudio
from whisper_server.memory.budget import Reservation
from whisper_server.process.event_loop import cancel
from whisper_server.service import Backend, Diarizer
from whisper_server.whisper.speakers import Turn, with_speakers
from whisper_server.whisper.transcript import Samples, Transcript

Turns = Awaitable[tuple[Turn, ...]]


def diarizer_of(backend: Backend) -> Diarizer:
    """Raises BadRequest if the server has none."""
    if backend.diarizer is None:
        raise BadRequest(
            "This server does not distinguish speakers (DIARIZATION is off); leave diarize out, and use another response_format "
            "than diarized_json and rttm.",
            param="response_format",
        )
    return backend.diarizer


@asynccontextmanager
async def speaker_question(
    spec: SpeakersSpec, backend: Backend, reservation: Callable[[], Reservation], owner: str = ""
) -> AsyncIterator[SpeakerQuestion]:
    """What to ask the diarizer, with the references decoded. Raises BadRequest, which names the reference, and ApiError."""
    with ExitStack() as stack:
        known = []
        for reference in spec.references:
            with MemoryFile.create("reference") as file:
                file.write(reference.file)
                try:
                    sound = await backend.decoder.read_audio(file, reservation(), owner)
                except InvalidAudio as error:
                    raise unreadable_reference(reference.name, error.message) from error
            stack.enter_context(sound)
            check_reference_length(reference.name, sound.duration_s)
            known.append(KnownSpeaker(reference.name, sound.samples))
        yield SpeakerQuestion(spec.exact, spec.least, spec.most, tuple(known))


@asynccontextmanager
async def finding_turns(
    diarizer: Diarizer,
    samples: Samples,
    question: SpeakerQuestion,
    new_reservation: Callable[[], Reservation],
    owner: str = "",
) -> AsyncIterator[Turns]:
    """The turns, once they are found; leaving the block stops the search."""
    task = asyncio.create_task(diarizer.turns(samples, question, owner, new_reservation))
    try:
        yield task
    finally:
        await cancel(task)


async def transcript_with_speakers(transcript: Coroutine[Any, Any, Transcript], turns: Turns) -> Transcript:
    """Both at a time; what fails first ends the other."""
    transcribing = asyncio.create_task(transcript)
    try:
        whole, found = await asyncio.gather(transcribing, turns)
    finally:
        await cancel(transcribing)
    return await asyncio.to_thread(with_speakers, whole, found)

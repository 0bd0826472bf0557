"""The server's end of the diarizing process: started for the first request, used by one recording after another.

A request that is cancelled kills the process, as does one that fails; the next request starts another. A process without
work ends after a minute, so that a server that is never asked for speakers holds no memory for them. While it lives, its
memory is taken from the budget of requests.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from whisper_runtime.memory import DIARIZER_BYTES
from whisper_server.diarization.messages import READY, BadMessage, DiarizationJob, DiarizationResult
from whisper_server.errors import AudioTooLong, BadRequest, InternalError, MemoryFull, Unavailable
from whisper_server.fairness.fair_semaphore import FairSemaphore
from whisper_server.memory.budget import MemoryBudget, Reservation
from whisper_server.process.children import own_child_environment
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.speakers import Turn, named
from whisper_server.whisper.transcript import Samples

_LOG = logging.getLogger(__name__)
_PIECE_SAMPLES = 80_000
_MAX_RESULT_BYTES = 64 << 20
"""A recording of a week changes its speaker 600,000 times, every second: 20 MB."""
_IDLE_S = 60.0
_START_S = 120.0
_UNLIMITED = MemoryBudget.unlimited()


@dataclass(frozen=True)
class KnownSpeaker:
    """A name and how its voice sounds."""

    name: str
    reference: Samples


@dataclass(frozen=True)
class SpeakerQuestion:
    """What a request says about its speakers."""

    exact: int | None = None
    least: int = 1
    most: int | None = None
    known: tuple[KnownSpeaker, ...] = ()


class Diarizer:
    """Finds the turns of recordings, one recording at a time, in turns by owner."""

    def __init__(self) -> None:
        self._slot = FairSemaphore(1, time.monotonic)
        self._idle: asyncio.subprocess.Process | None = None
        self._ending: asyncio.TimerHandle | None = None
        self._held = _UNLIMITED.reservation()
        """What the process takes from the budget."""
        self.audio_s = 0.0
        """Sound that was diarized since the start."""
        self.busy_s = 0.0

    @property
    def n_waiting(self) -> int:
        return self._slot.n_waiting

    async def turns(
        self,
        samples: Samples,
        question: SpeakerQuestion,
        owner: str = "",
        new_reservation: Callable[[], Reservation] = _UNLIMITED.reservation,
    ) -> tuple[Turn, ...]:
        """The turns by start, with names or letters. `new_reservation`: of the process, if one has to be started.

        Raises BadRequest (a reference), MemoryFull, InternalError, Unavailable.
        """
        async with self._slot.slot(owner, id(samples)):
            begin_s = time.monotonic()
            result = await self._result(samples, question, new_reservation)
            self.audio_s += len(samples) / SAMPLE_RATE_HZ
            self.busy_s += time.monotonic() - begin_s
        if result.bad_reference is not None:
            voices = "no voice" if not result.n_reference_voices else f"{result.n_reference_voices} voices"
            raise BadRequest(
                f"known_speaker_references: the recording of {question.known[result.bad_reference].name!r} has {voices}; "
                "send 2 to 10 s in which that speaker alone speaks.",
                param="known_speaker_references",
            )
        names = {str(speaker): question.known[reference].name for speaker, reference in result.reference_of}
        return named([Turn(start_s, end_s, str(speaker)) for start_s, end_s, speaker in result.turns], names)

    async def stop(self) -> None:
        """Kill the process that waits for work."""
        process, self._idle = self._take(), None
        if process is not None:
            await self._end(process)

    async def _result(
        self, samples: Samples, question: SpeakerQuestion, new_reservation: Callable[[], Reservation]
    ) -> DiarizationResult:
        job = DiarizationJob(
            len(samples),
            tuple(len(one.reference) for one in question.known),
            question.exact,
            question.least,
            question.most,
        )
        process = self._take() or await self._started(new_reservation())
        try:
            sending = asyncio.create_task(_send(process, job, [*(one.reference for one in question.known), samples]))
            try:
                assert process.stdout is not None
                line = await process.stdout.readline()
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            result = DiarizationResult.from_line(line)
        except (BadMessage, ValueError, OSError) as error:
            await self._end(process)
            _LOG.error("the diarizing process failed and was killed: %s", error)
            raise InternalError("Finding the speakers failed inside the server.") from error
        except BaseException:
            await asyncio.shield(self._end(process))
            raise
        self._keep(process)
        return result

    def _take(self) -> asyncio.subprocess.Process | None:
        """The process that waits for work, if it lives."""
        process, self._idle = self._idle, None
        if self._ending is not None:
            self._ending.cancel()
        if process is not None and process.returncode is not None:
            self._held.release()
            return None
        return process

    def _keep(self, process: asyncio.subprocess.Process) -> None:
        self._idle = process
        self._ending = asyncio.get_running_loop().call_later(_IDLE_S, self._end_idle, process)

    def _end_idle(self, process: asyncio.subprocess.Process) -> None:
        _kill(process)
        self._held.release()

    async def _started(self, held: Reservation) -> asyncio.subprocess.Process:
        """Raises MemoryFull, Unavailable."""
        if not held.grow(DIARIZER_BYTES):
            if isinstance(held.refusal, AudioTooLong):
                raise Unavailable(
                    f"Finding speakers takes {DIARIZER_BYTES >> 20} MiB, and this server has less for requests (MEMORY_BUDGET_BYTES). "
                    "Ask for an answer without speakers."
                )
            raise held.refusal or MemoryFull()
        try:
            process = await _started()
        except BaseException:
            held.release()
            raise
        self._held = held
        return process

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        await _end(process)
        self._held.release()


async def _started() -> asyncio.subprocess.Process:
    """Raises Unavailable."""
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "whisper_server.diarization.worker", str(os.getpid())),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_MAX_RESULT_BYTES,
            process_group=0,  # no session: see `audio.worker_process`
            env=own_child_environment(),
        )
    except OSError as error:
        raise Unavailable(f"The diarizing process does not start: {error.strerror}. Try again.") from error
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_START_S):
            line = await process.stdout.readline()
    except BaseException as error:
        await asyncio.shield(_end(process))
        if isinstance(error, TimeoutError):
            raise Unavailable("The diarizing process does not start in time. Try again.") from error
        raise
    if line != READY:
        await _end(process)
        raise Unavailable("The diarizing process does not start; the server's log has its error.")
    return process


async def _send(process: asyncio.subprocess.Process, job: DiarizationJob, sounds: Sequence[Samples]) -> None:
    """The job and its samples, as fast as the process takes them."""
    assert process.stdin is not None
    process.stdin.write(job.to_line())
    for sound in sounds:
        for first in range(0, len(sound), _PIECE_SAMPLES):
            process.stdin.write(sound[first : first + _PIECE_SAMPLES].tobytes())
            await process.stdin.drain()


async def _end(process: asyncio.subprocess.Process) -> None:
    _kill(process)
    await process.wait()


def _kill(process: asyncio.subprocess.Process) -> None:
    """SIGKILL: the process has nothing to clean up."""
    with suppress(ProcessLookupError):
        process.kill()

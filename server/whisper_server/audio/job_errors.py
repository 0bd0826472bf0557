"""How a decoder job ends badly, in the words that its client gets: refusals, deaths, samples that are not as reported."""

from __future__ import annotations

import logging
import signal

from whisper_server.audio.decoded_audio import DecodedAudio
from whisper_server.audio.limits import WRONG_CHANNELS
from whisper_server.audio.memory_file import MemoryFile
from whisper_server.audio.messages import Done, Refused
from whisper_server.audio.worker_process import WorkerDied
from whisper_server.errors import (
    ApiError,
    AudioTooLong,
    AudioTooShort,
    BadRequest,
    InternalError,
    InvalidAudio,
    MemoryFull,
    Unavailable,
)
from whisper_server.memory.budget import Reservation

_LOG = logging.getLogger(__name__)
_REFUSALS = {error.code: error for error in (InvalidAudio, AudioTooShort, AudioTooLong)}


class WorkerLost(Exception):
    """The worker died of another cause than its sandbox or its limits, or froze; `refusal` is for the client."""

    def __init__(self, cause: str, refusal: str) -> None:
        super().__init__(cause)
        self.refusal = refusal


def was_out_of_cpu_time(died: WorkerDied) -> bool:
    """The kernel ended the job at its limit: the file is the cause, not the machine."""
    return died.returncode == -signal.SIGXCPU


def broke_the_sandbox(returncode: int | None) -> bool:
    """The worker made a system call that decoding never makes."""
    return returncode == -signal.SIGSYS


def error_of_death(pid: int, died: WorkerDied) -> Exception:
    """What the death of a worker in the middle of a job means: an ApiError, or WorkerLost if another may succeed."""
    if was_out_of_cpu_time(died):
        return InvalidAudio(
            "The file cannot be decoded: it takes far more processor time than audio of its length should."
        )
    if broke_the_sandbox(died.returncode):
        return InvalidAudio(
            "The file cannot be decoded: its decoder made a system call that decoding never makes, and was "
            "stopped. Convert the file to wav or flac and send it again."
        )
    return WorkerLost(
        f"decoder worker {pid} died in mid-job with {died.returncode}",
        "The process that decoded the file died, twice. Other requests are not affected. "
        "Convert the file to wav or flac, or try again.",
    )


def refusal_of(refused: Refused, reservation: Reservation) -> ApiError:
    """A worker's refusal as the client gets it."""
    if refused.code == "overloaded":
        return reservation.refusal or MemoryFull()
    if refused.code == WRONG_CHANNELS:
        return BadRequest(refused.message, param="multichannel", code=WRONG_CHANNELS)
    error = _REFUSALS.get(refused.code)
    if error is None:
        _LOG.error("a decoder worker refused a file with the unknown code %r", refused.code)
        return InternalError("Decoding the file failed inside the server.")
    return error(refused.message)


def mapped(samples: MemoryFile, done: Done, reservation: Reservation) -> DecodedAudio:
    """The samples that a worker has written. Raises InternalError if they are not as it reported them."""
    try:
        return DecodedAudio.map(samples, done.n_samples, reservation, done.n_channels)
    except (ValueError, OSError) as error:
        _LOG.exception("a decoder worker's samples are not as it reported them")
        raise InternalError("Decoding the file failed inside the server.") from error


def going_down() -> Unavailable:
    """For jobs of a pool that stops."""
    return Unavailable("The server is going down.")

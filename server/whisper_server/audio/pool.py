"""Decoding in worker processes: a hostile file costs its own request, never the server.

A pool of our own, because a killed worker of `ProcessPoolExecutor` fails every pending job. Here a
request that leaves kills its worker, a worker that dies fails its request, and the pool heals.
No decoding happens in this process.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from whisper_server.audio.decoded_audio import DecodedAudio
from whisper_server.audio.limits import DecodeLimits
from whisper_server.audio.memory_file import MemoryFile
from whisper_server.audio.messages import BadMessage, Crashed, Done, Refused
from whisper_server.audio.reservation import Reservation, Unlimited
from whisper_server.audio.worker_process import WorkerDied, WorkerProcess, WorkerStalled, was_out_of_cpu_time
from whisper_server.errors import (
    ApiError,
    AudioTooLong,
    AudioTooShort,
    InternalError,
    InvalidAudio,
    MemoryFull,
    StartError,
    Unavailable,
)

_LOG = logging.getLogger(__name__)
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0
_REFUSALS = {error.code: error for error in (InvalidAudio, AudioTooShort, AudioTooLong)}


class DecodePool:
    """`n_workers` processes; jobs beyond that wait, first come first served."""

    def __init__(self, n_workers: int, limits: DecodeLimits) -> None:
        self._n_workers = n_workers
        self._limits = limits
        self._workers: set[WorkerProcess] = set()
        self._idle: deque[WorkerProcess] = deque()
        self._waiting: deque[asyncio.Future[WorkerProcess]] = deque()
        self._supervisors: list[asyncio.Task[None]] = []
        self._stopped = False
        self.n_worker_deaths = 0
        """Workers that ended otherwise than by our hand."""

    @property
    def n_waiting(self) -> int:
        """Jobs that wait for a worker."""
        return len(self._waiting)

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Of the workers that run now."""
        return tuple(worker.pid for worker in self._workers)

    async def start(self) -> None:
        """All workers, side by side. Raises StartError.

        The thread that calls must live as long as the pool: the kernel ends the workers with their parent thread.
        """
        starts = [asyncio.create_task(WorkerProcess.start(self._limits)) for _ in range(self._n_workers)]
        try:
            workers = await asyncio.gather(*starts)
        except BaseException as error:
            for start in starts:
                start.cancel()
            for started in await asyncio.gather(*starts, return_exceptions=True):
                if isinstance(started, WorkerProcess):
                    started.kill()
                    await started.wait()
            if isinstance(error, Exception):
                raise StartError(f"An audio decoding worker does not start: {error!r}.") from error
            raise
        for worker in workers:
            self._workers.add(worker)
            self._hand_over(worker)
            self._supervisors.append(asyncio.create_task(self._supervise(worker)))

    async def stop(self) -> None:
        """Kill all workers and wait for their end; whoever still waits gets Unavailable."""
        self._stopped = True
        for supervisor in self._supervisors:
            supervisor.cancel()
        await asyncio.gather(*self._supervisors, return_exceptions=True)
        self._idle.clear()
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(_going_down())
        workers, self._workers = self._workers, set()
        for worker in workers:
            worker.kill()
        await asyncio.gather(*(worker.wait() for worker in workers))

    async def decode(self, source: MemoryFile, reservation: Reservation | None = None) -> DecodedAudio:
        """Samples of the uploaded file. `source` stays the caller's and must stay open until this returns.

        Raises InvalidAudio, AudioTooShort, AudioTooLong, MemoryFull (the reservation would not grow),
        InternalError (the worker died), Unavailable (the pool stops). The reservation is released on every
        error and on cancellation, else when the result is closed.
        """
        reservation = reservation or Unlimited()
        try:
            with MemoryFile.create("samples") as samples:
                worker = await self._take_with_job(source, samples)
                done = await self._result(worker, reservation)
                return _mapped(samples, done, reservation)
        except BaseException:
            reservation.release()
            raise

    async def _take_with_job(self, source: MemoryFile, samples: MemoryFile) -> WorkerProcess:
        """A worker that has the job. One that died while idle has seen nothing of it: the next one gets it."""
        while True:
            worker = await self._take()
            if worker.send_job(source.fileno(), samples.fileno()):
                return worker

    async def _result(self, worker: WorkerProcess, reservation: Reservation) -> Done:
        """Gives the worker back, or kills it where it cannot be used again: on cancellation above all."""
        reusable = False
        try:
            outcome = await worker.result(reservation.grow)
            reusable = True
        except WorkerDied as died:
            raise self._died(died) from died
        except WorkerStalled as error:
            _LOG.error("decode worker %d stalled for %g s and was killed", worker.pid, self._limits.stall_s)
            raise InternalError("Decoding the file made no progress and was stopped. Try again.") from error
        except BadMessage as error:
            _LOG.exception("decode worker %d broke the protocol and was killed", worker.pid)
            raise InternalError("Decoding the file failed inside the server.") from error
        finally:
            if reusable and not worker.worn_out:
                self._hand_over(worker)
            else:
                worker.kill()  # its supervisor starts another
        if isinstance(outcome, Crashed):
            _LOG.error("decoding crashed:\n%s", outcome.traceback)
            raise InternalError("Decoding the file failed inside the server.")
        if isinstance(outcome, Refused):
            raise _refusal(outcome, reservation)
        return outcome

    def _died(self, died: WorkerDied) -> ApiError:
        if self._stopped:
            return _going_down()
        if was_out_of_cpu_time(died):
            return InvalidAudio(
                "The file cannot be decoded: it takes far more processor time than audio of its length should."
            )
        _LOG.error("a decode worker died in mid-job: return code %s", died.returncode)
        return InternalError("The process that decoded the file died. Other requests are not affected. Try again.")

    async def _take(self) -> WorkerProcess:
        if self._stopped:
            raise _going_down()
        while self._idle:
            worker = self._idle.popleft()
            if worker.alive:
                return worker
        waiter: asyncio.Future[WorkerProcess] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._hand_over(waiter.result())
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            raise

    def _hand_over(self, worker: WorkerProcess) -> None:
        """To the job that has waited longest, else to the bench."""
        if not worker.alive:
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(worker)
                return
        self._idle.append(worker)

    async def _supervise(self, worker: WorkerProcess) -> None:
        """Replace the worker whenever it ends, until the pool stops."""
        while True:
            returncode = await worker.wait()
            self._workers.discard(worker)
            if worker in self._idle:
                self._idle.remove(worker)
            if not worker.killed_by_us:
                self.n_worker_deaths += 1
                _LOG.warning("decode worker %d ended with %d; starting another", worker.pid, returncode)
            worker = await self._replacement()
            self._workers.add(worker)
            self._hand_over(worker)

    async def _replacement(self) -> WorkerProcess:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return await WorkerProcess.start(self._limits)
            except Exception as error:  # noqa: BLE001 - a pool that does not try again is one worker short for ever
                _LOG.error("a decode worker does not start (%r); next try in %g s", error, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _refusal(refused: Refused, reservation: Reservation) -> ApiError:
    if refused.code == "overloaded":
        return _too_long_for_the_memory() if reservation.outgrown else MemoryFull()
    error = _REFUSALS.get(refused.code)
    if error is None:
        _LOG.error("a decode worker refused a file with the unknown code %r", refused.code)
        return InternalError("Decoding the file failed inside the server.")
    return error(refused.message)


def _too_long_for_the_memory() -> AudioTooLong:
    return AudioTooLong(
        "The recording is too long: its samples take more memory than this server has for all requests together "
        "(MEMORY_BUDGET_BYTES). Send it in parts."
    )


def _mapped(samples: MemoryFile, done: Done, reservation: Reservation) -> DecodedAudio:
    try:
        return DecodedAudio.map(samples, done.n_samples, reservation)
    except (ValueError, OSError) as error:
        _LOG.exception("a decode worker's samples are not what it said")
        raise InternalError("Decoding the file failed inside the server.") from error


def _going_down() -> Unavailable:
    return Unavailable("The server is going down.")

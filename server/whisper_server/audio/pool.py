"""A pool of decoder workers: a hostile file costs its own request, never the server.

Not `ProcessPoolExecutor`, where a killed worker fails every pending job. Here a cancelled request kills its worker,
the job of a worker that dies or freezes is read once more by another one, and the pool replaces each worker that
ends. No audio is decoded in the server's process.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Sequence

from whisper_server.audio.decoded_audio import DecodedAudio
from whisper_server.audio.job_errors import (
    WorkerLost,
    broke_the_sandbox,
    error_of_death,
    going_down,
    mapped,
    refusal_of,
    was_out_of_cpu_time,
)
from whisper_server.audio.job_permits import JobPermits, Postponed
from whisper_server.audio.job_queue import JobQueue, QueuedJob
from whisper_server.audio.limits import DecoderLimits, price_of_samples
from whisper_server.audio.memory_file import MemoryFile
from whisper_server.audio.messages import MIXED, BadMessage, Crashed, Done, Refused
from whisper_server.audio.worker_process import (
    WorkerDied,
    WorkerProcess,
    WorkerStalled,
)
from whisper_server.errors import (
    InternalError,
    StartError,
)
from whisper_server.memory.budget import MemoryBudget, Reservation

_LOG = logging.getLogger(__name__)
_FIRST_PAUSE_S = 0.2
_MAX_PAUSE_S = 10.0


class AudioDecoderPool:
    """`n_workers` processes; further jobs wait for their turns."""

    def __init__(self, n_workers: int, limits: DecoderLimits, *, max_queue_s: float = math.inf) -> None:
        """`max_queue_s`: files that take longer, or would have to wait longer once they are known to be long, are refused."""
        self._n_workers = n_workers
        self._limits = limits
        self._max_queue_s = max_queue_s
        self._workers: set[WorkerProcess] = set()
        self.jobs: JobQueue[WorkerProcess] = JobQueue(n_workers, time.monotonic)
        self._supervisors: list[asyncio.Task[None]] = []
        self._stopped = False
        self.n_worker_deaths = 0
        """Workers that ended without being killed by the pool."""
        self.n_sandbox_kills = 0
        """Those of them that made a forbidden system call."""

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the workers that run now."""
        return tuple(worker.pid for worker in self._workers)

    async def start(self) -> None:
        """Start all workers concurrently. Raises StartError.

        The calling thread must live as long as the pool: the kernel ends the workers with their parent thread.
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
        _log_sandbox(workers)
        for worker in workers:
            self._workers.add(worker)
            self.jobs.hand_over(worker)
            self._supervisors.append(asyncio.create_task(self._supervise(worker)))

    async def stop(self) -> None:
        """Kill all workers and wait for their end. Jobs that still wait raise Unavailable."""
        self._stopped = True
        for supervisor in self._supervisors:
            supervisor.cancel()
        await asyncio.gather(*self._supervisors, return_exceptions=True)
        self.jobs.close(going_down)
        workers, self._workers = self._workers, set()
        for worker in workers:
            worker.kill()
        await asyncio.gather(*(worker.wait() for worker in workers))

    def queued_audio_s(self) -> float:
        """Sound that waits or is being decoded, in seconds of ordinary sound (`limits`)."""
        return self.jobs.queued_audio_s()

    def estimated_wait_s(self, owner: str) -> float:
        """Seconds that a new file of `owner` waits for a worker."""
        return self.jobs.wait_s(owner)

    async def read_audio(
        self,
        source: MemoryFile,
        reservation: Reservation | None = None,
        owner: str = "",
        channel: int | None = None,
    ) -> DecodedAudio:
        """Samples of the uploaded file. `source` stays the caller's and must stay open until this returns.

        `channel`: only that one, of a recording of two to eight channels (else BadRequest); None: all of them, mixed. Raises InvalidAudio, AudioTooShort, AudioTooLong, MemoryFull (the reservation would not grow),
        InternalError (two workers died of the file), Unavailable (the pool stops), TooMuchWork, Overloaded. The
        reservation is released on every error and on cancellation, else when the result is closed.
        """
        reservation = reservation or MemoryBudget.unlimited().reservation()
        try:
            with self.jobs.entered(owner, source.n_bytes) as job:
                try:
                    return await self._attempt(source, reservation, job, channel)
                except WorkerLost as lost:
                    _LOG.warning("%s; its job is read once more by another", lost)
                    return await self._attempt(source, reservation, job, channel)
        except BaseException as error:
            reservation.release()
            if isinstance(error, WorkerLost):
                _LOG.error("%s; it was the second for this job, which is refused", error)
                raise InternalError(error.refusal) from error
            raise

    async def _attempt(
        self, source: MemoryFile, reservation: Reservation, job: QueuedJob, channel: int | None
    ) -> DecodedAudio:
        """Raises WorkerLost if another worker may succeed; the reservation then holds what it held before."""
        while True:
            permits = JobPermits(self.jobs, job, reservation, self._max_queue_s)
            with MemoryFile.create("samples") as samples:
                worker = await self._take_with_job(source, samples, job, channel)
                done_s = 0.0
                try:
                    done = await self._result(worker, permits)
                    done_s = price_of_samples(4 * done.n_samples, job.header)
                    return mapped(samples, done, reservation)
                except (WorkerLost, Postponed) as error:
                    permits.give_back()
                    if isinstance(error, WorkerLost):
                        raise
                finally:
                    self.jobs.leave(job, done_s=done_s)

    async def _take_with_job(
        self, source: MemoryFile, samples: MemoryFile, job: QueuedJob, channel: int | None
    ) -> WorkerProcess:
        """A worker that has the job. A worker that died while idle has not seen the job, so the next one gets it."""
        while True:
            if self._stopped:
                raise going_down()
            worker = await self.jobs.take(job)
            fds = source.fileno(), samples.fileno()
            if worker.send_job(*fds, is_long=job.is_long, channel=MIXED if channel is None else channel):
                return worker
            self.jobs.leave(job)

    async def _result(self, worker: WorkerProcess, permits: JobPermits) -> Done:
        """Gives the worker back, or kills it where it cannot be used again, as on cancellation."""
        reusable = False
        try:
            outcome = await worker.result(permits)
            reusable = True
        except WorkerDied as died:
            if was_out_of_cpu_time(died) and worker.was_cut_short:
                permits.take_for_long()
                raise Postponed from died
            raise going_down() if self._stopped else error_of_death(worker.pid, died) from died
        except WorkerStalled as error:
            raise WorkerLost(
                f"decoder worker {worker.pid} made no progress and was killed",
                "Decoding the file made no progress, twice, and was stopped. Convert it to wav or flac, or try again.",
            ) from error
        except BadMessage as error:
            _LOG.exception("decoder worker %d broke the protocol and was killed", worker.pid)
            raise InternalError("Decoding the file failed inside the server.") from error
        finally:
            if reusable and not worker.needs_recycling:
                self.jobs.hand_over(worker)
            else:
                worker.kill()  # its supervisor starts another
        if isinstance(outcome, Crashed):
            _LOG.error("decoding crashed:\n%s", outcome.traceback)
            raise InternalError("Decoding the file failed inside the server.")
        if isinstance(outcome, Refused):
            raise permits.refusal or refusal_of(outcome, permits.reservation)
        return outcome

    async def _supervise(self, worker: WorkerProcess) -> None:
        """Replace the worker whenever it ends, until the pool stops."""
        while True:
            returncode = await worker.wait()
            self._workers.discard(worker)
            self.jobs.forget(worker)
            if not worker.killed_by_us:
                self.n_worker_deaths += 1
                _LOG.warning("decoder worker %d ended with %d; starting another", worker.pid, returncode)
            if broke_the_sandbox(returncode):
                self.n_sandbox_kills += 1
                _LOG.error("the sandbox killed decoder worker %d: it made a forbidden system call", worker.pid)
            worker = await self._replacement()
            self._workers.add(worker)
            self.jobs.hand_over(worker)

    async def _replacement(self) -> WorkerProcess:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return await WorkerProcess.start(self._limits)
            except Exception as error:  # noqa: BLE001 - a pool that does not try again stays one worker short
                _LOG.error("a decoder worker does not start (%r); next try in %g s", error, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _MAX_PAUSE_S)


def _log_sandbox(workers: Sequence[WorkerProcess]) -> None:
    """All workers run on the same kernel, so one line is enough."""
    for worker in workers[:1]:
        level = logging.INFO if worker.sandbox.seccomp else logging.WARNING
        _LOG.log(level, "audio decoder sandbox: %s", worker.sandbox)

"""What a running job may take: memory from the budget, and a worker for as long as its price allows.

The price is known from the header, and corrected by what was decoded: a header may lie.
"""

from __future__ import annotations

from typing import Any

from whisper_server.audio.job_queue import JobQueue, QueuedJob
from whisper_server.audio.limits import LONG_PRICE_S, price_of_header, price_of_samples
from whisper_server.audio.messages import Probed
from whisper_server.errors import ApiError, Overloaded, TooMuchWork
from whisper_server.memory.budget import Reservation


class Postponed(Exception):
    """The job is long, and gives its worker up until another long one has ended."""


class JobPermits:
    """The answers to one attempt at a job."""

    def __init__(self, jobs: JobQueue[Any], job: QueuedJob, reservation: Reservation, max_queue_s: float) -> None:
        self._jobs = jobs
        self._job = job
        self.reservation = reservation
        self._max_queue_s = max_queue_s
        self._granted_bytes = 0
        self.refusal: ApiError | Postponed | None = None
        """Why the job was ended, if it was not for memory."""

    @property
    def is_long(self) -> bool:
        return self._job.is_long

    def probed(self, header: Probed) -> bool:
        """Take the header's price. False: the job takes too long, or has to wait for its turn among the long ones."""
        self._job.header = header
        if not header.duration_ms:
            return True
        work_s = self._jobs.work_s(price_of_header(header))
        if work_s > self._max_queue_s:
            self.refusal = TooMuchWork(
                f"Decoding this file ({header.duration_ms / 1000:.0f} s of {header.n_channels} channels at {header.rate_hz} Hz) "
                f"takes about {work_s:.0f} s, more than the {self._max_queue_s:g} s that a request may take "
                "(MAX_QUEUE_SECONDS). Send it as mono at 16 kHz, or in parts."
            )
            return False
        return self._reprice(price_of_header(header), is_exact=True)

    def grow(self, n_bytes: int) -> bool:
        """Take memory for more samples. False: there is none, or the job is longer than its header said."""
        if not self._reprice(price_of_samples(self._granted_bytes, self._job.header)):
            return False
        granted = self.reservation.grow(n_bytes)
        self._granted_bytes += n_bytes if granted else 0
        return granted

    def take_for_long(self) -> None:
        """It took more processor time than a file that is not long: whatever its header says, it is long."""
        self._jobs.reprice(self._job, max(self._job.price_s, LONG_PRICE_S + 1))

    def give_back(self) -> None:
        """The samples of this attempt are void."""
        self.reservation.shrink(self._granted_bytes)
        self._granted_bytes = 0

    def _reprice(self, price_s: float, *, is_exact: bool = False) -> bool:
        was_long = self._job.is_long
        goes_on = self._jobs.reprice(self._job, price_s, is_exact=is_exact)
        if goes_on:
            return True
        wait_s = self._jobs.wait_of_s(self._job)
        if wait_s > self._max_queue_s and not was_long:
            self.refusal = Overloaded(
                f"About {wait_s:.0f} s of other long files are decoded before this one; at most {self._max_queue_s:g} s "
                "(MAX_QUEUE_SECONDS) are accepted. Try again later.",
                retry_after_s=wait_s - self._max_queue_s,
            )
        else:
            self.refusal = Postponed()
        return False

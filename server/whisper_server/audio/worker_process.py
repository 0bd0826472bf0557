"""The server's end of one decoder worker: start it, give it a job, kill it.

The worker is spawned (never forked from the server with its threads), with an environment that holds
no secret. The server does not trust it and checks every message.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress

from whisper_server.audio import messages
from whisper_server.audio.cpu_time import CpuAllowance, cpu_time_s
from whisper_server.audio.limits import DecoderLimits
from whisper_server.audio.messages import (
    MIXED,
    BadMessage,
    Crashed,
    DecodeJob,
    Done,
    Grant,
    Grow,
    Message,
    Permits,
    Probed,
    Ready,
    Refused,
)
from whisper_server.audio.sandbox import SandboxReport
from whisper_server.audio.worker_socket import WorkerSocket
from whisper_server.process.children import own_child_environment
from whisper_server.whisper.constants import SAMPLE_RATE_HZ

_MIN_PROGRESS_CPU_S = 0.001


class WorkerDied(Exception):
    """The worker is gone; `returncode` is the negative number of the signal that killed it, if one did."""

    def __init__(self, returncode: int | None) -> None:
        super().__init__(f"decoder worker ended with {returncode}")
        self.returncode = returncode


class WorkerStalled(Exception):
    """The worker is frozen, or sent no message for longer than it may."""


class WorkerProcess:
    """A running worker. It takes one job at a time."""

    def __init__(self, process: asyncio.subprocess.Process, connection: socket.socket, limits: DecoderLimits) -> None:
        self._process = process
        self._pidfd = _pidfd(process.pid)
        self._socket = WorkerSocket(connection, messages.MAX_MESSAGE_BYTES)
        self._limits = limits
        self._rss_at_start_bytes = 0
        self._rss_bytes = 0
        self._n_jobs = 0
        self._allowance: CpuAllowance | None = None
        self.sandbox = SandboxReport(seccomp=False, landlock_abi=0)
        self.killed_by_us = False

    @classmethod
    async def start(cls, limits: DecoderLimits) -> WorkerProcess:
        """Raises OSError, WorkerDied, WorkerStalled."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                arguments = (str(theirs.fileno()), str(os.getpid()), limits.to_json())
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "whisper_server.audio.worker", *arguments),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    # Not a session: Linux shares processor time out by session first (sched_autogroup), whatever the niceness.
                    # On 2 cores a decoder in its own got 1.8 × the time of a thread of the server, in this one 0.36 ×.
                    process_group=0,
                    env=own_child_environment(),
                )
            worker = cls(process, ours, limits)
        except BaseException:
            ours.close()  # a worker without a connection ends by itself
            raise
        try:
            await worker._greet()
        except BaseException:
            worker.kill()
            await asyncio.shield(worker.wait())
            raise
        return worker

    async def _greet(self) -> None:
        ready = await self._receive(self._limits.start_s, self._limits.start_s)
        if not isinstance(ready, Ready):
            raise BadMessage(repr(ready))
        self._rss_at_start_bytes = self._rss_bytes = ready.rss_bytes
        self.sandbox = SandboxReport(ready.seccomp, ready.landlock_abi)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        """As far as the event loop knows."""
        return self._process.returncode is None and not self.killed_by_us

    @property
    def needs_recycling(self) -> bool:
        """After many jobs, or if memory did not come back, or if too little processor time is left for a long job."""
        return (
            self._n_jobs >= self._limits.max_jobs_per_worker
            or self._rss_bytes - self._rss_at_start_bytes > self._limits.growth_bytes
            or self._cpu_time_s() > self._limits.max_cpu_per_worker_s - self._limits.max_cpu_per_job_s
        )

    def send_job(self, upload_fd: int, samples_fd: int, *, is_long: bool = True, channel: int = MIXED) -> bool:
        """False: the worker was dead already and has seen nothing of the job."""
        try:
            self._allowance = CpuAllowance(self.pid, self._limits, is_long=is_long)
            self._socket.send(messages.pack(DecodeJob(channel)), [upload_fd, samples_fd])
        except OSError:
            self._send_sigkill()
            return False
        self._n_jobs += 1
        return True

    async def result(self, permits: Permits) -> Done | Refused | Crashed:
        """The outcome of the job sent. Raises WorkerDied, WorkerStalled, BadMessage and what `permits` raise."""
        granted_bytes = 0
        while True:
            message = await self._receive(self._limits.stall_s, self._limits.max_silence_s)
            if isinstance(message, Grow) and message.n_bytes > 0:
                granted = permits.grow(message.n_bytes)
                granted_bytes += message.n_bytes if granted else 0
                await self._answer(Grant(granted), granted_bytes, is_long=permits.is_long)
                continue
            if isinstance(message, Probed) and min(vars(message).values()) >= 0:
                granted = permits.probed(message) and (not message.n_bytes or permits.grow(message.n_bytes))
                granted_bytes += message.n_bytes if granted else 0
                await self._answer(Grant(granted), granted_bytes, is_long=permits.is_long)
                continue
            if isinstance(message, Done | Refused):
                self._rss_bytes = message.rss_bytes
                return message
            if isinstance(message, Crashed):
                return message
            raise BadMessage(repr(message))

    async def _answer(self, grant: Grant, granted_bytes: int, *, is_long: bool) -> None:
        try:
            if self._allowance is not None:
                self._allowance.is_long = is_long
                self._allowance.allow(granted_bytes / (4 * SAMPLE_RATE_HZ))
            self._socket.send(messages.pack(grant))
        except OSError as error:
            self._send_sigkill()  # it may live, and wait for the answer that cannot be sent
            raise WorkerDied(await self.wait()) from error

    @property
    def was_cut_short(self) -> bool:
        """Whether the job's processor time was that of a file that is not long."""
        return self._allowance is not None and self._allowance.is_cut

    def _cpu_time_s(self) -> float:
        """0 where the process was reaped."""
        try:
            return cpu_time_s(self.pid)
        except OSError:
            return 0.0

    def kill(self) -> None:
        """SIGKILL: a worker has nothing to clean up."""
        if self._process.returncode is None:
            self.killed_by_us = True
            self._send_sigkill()

    def _send_sigkill(self) -> None:
        """Has no effect on a dead process.

        Not `Process.kill()`: it polls, and so reaps a worker that has just died. The event loop then finds no child
        and reports 255, so that the cause of the death would be lost.
        """
        if self._process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            if self._pidfd is None:
                os.kill(self._process.pid, signal.SIGKILL)
            else:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def wait(self) -> int:
        """Wait until the process has ended and is reaped. Returns its return code."""
        returncode = await self._process.wait()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        # A socket that is closed while a task receives from it never wakes that task.
        if not self._socket.is_waited_for:
            self._socket.close()
        return returncode

    async def _receive(self, stall_s: float, max_silence_s: float) -> Message:
        """Raises WorkerDied, WorkerStalled, BadMessage.

        A busy machine keeps a worker waiting, but gives it some processor time; a frozen worker uses none.
        """
        clock = asyncio.get_running_loop().time
        ends_s = clock() + max_silence_s
        used_s: float | None = None

        def next_check_s() -> float:
            nonlocal used_s
            used_before_s, used_s = used_s, self._cpu_time_s()
            if used_before_s is not None:
                is_frozen = stall_s < max_silence_s and used_s - used_before_s < _MIN_PROGRESS_CPU_S
                if is_frozen or clock() >= ends_s:
                    raise WorkerStalled
            return min(stall_s, ends_s - clock())

        datagram = await self._socket.receive(next_check_s)
        if datagram:
            return messages.unpack(datagram)
        self._send_sigkill()
        raise WorkerDied(await self.wait())


def _pidfd(pid: int) -> int | None:
    """None: the process was reaped, or the kernel or its seccomp profile is too old."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None

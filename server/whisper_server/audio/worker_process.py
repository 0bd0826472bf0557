"""The server's end of one decode worker: start it, give it a job, kill it.

The worker is spawned (never forked from the server with its threads), with an environment that holds
no secret, and it is not trusted: whatever it sends is checked.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

from whisper_server.audio import messages
from whisper_server.audio.limits import DecodeLimits
from whisper_server.audio.messages import BadMessage, Crashed, Done, Grant, Grow, Job, Message, Ready, Refused

_KEPT_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", "COVERAGE_PROCESS_START")


class WorkerDied(Exception):
    """The worker is gone; `returncode` is the negative number of the signal that killed it, if one did."""

    def __init__(self, returncode: int | None) -> None:
        super().__init__(f"decode worker ended with {returncode}")
        self.returncode = returncode


class WorkerStalled(Exception):
    """The worker said nothing for longer than it may."""


class WorkerProcess:
    """A running worker. Whoever takes it gives it one job at a time."""

    def __init__(self, process: asyncio.subprocess.Process, connection: socket.socket, limits: DecodeLimits) -> None:
        self._process = process
        self._pidfd = _pidfd(process.pid)
        self._connection = connection
        self._limits = limits
        self._rss_at_start_bytes = 0
        self._rss_bytes = 0
        self._n_jobs = 0
        self._receiving = False
        self.killed_by_us = False

    @classmethod
    async def start(cls, limits: DecodeLimits) -> WorkerProcess:
        """Raises OSError, WorkerDied, WorkerStalled."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(0)
        try:
            with theirs:
                arguments = (str(theirs.fileno()), str(os.getpid()), limits.to_json())
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "whisper_server.audio.worker", *arguments),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                    env=_environment(),
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
        ready = await self._receive(self._limits.start_s)
        if not isinstance(ready, Ready):
            raise BadMessage(repr(ready))
        self._rss_at_start_bytes = self._rss_bytes = ready.rss_bytes

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        """As far as the event loop has heard."""
        return self._process.returncode is None and not self.killed_by_us

    @property
    def worn_out(self) -> bool:
        """Time for a new one: many jobs, or memory that did not come back."""
        grown_bytes = self._rss_bytes - self._rss_at_start_bytes
        return self._n_jobs >= self._limits.n_jobs_a_worker or grown_bytes > self._limits.growth_bytes

    def send_job(self, upload_fd: int, samples_fd: int) -> bool:
        """False: the worker is dead already, and has seen nothing of the job."""
        try:
            socket.send_fds(self._connection, [messages.encode(Job())], [upload_fd, samples_fd])
        except OSError:
            self._send_sigkill()
            return False
        self._n_jobs += 1
        return True

    async def result(self, grow: Callable[[int], bool]) -> Done | Refused | Crashed:
        """What became of the job sent. Raises WorkerDied, WorkerStalled, BadMessage and what `grow` raises."""
        while True:
            message = await self._receive(self._limits.stall_s)
            if isinstance(message, Grow) and message.n_bytes > 0:
                granted = grow(message.n_bytes)
                try:
                    self._connection.send(messages.encode(Grant(granted)))
                except OSError as error:
                    self._send_sigkill()  # it may live, and wait for the answer that cannot be sent
                    raise WorkerDied(await self.wait()) from error
                continue
            if isinstance(message, Done | Refused):
                self._rss_bytes = message.rss_bytes
                return message
            if isinstance(message, Crashed):
                return message
            raise BadMessage(repr(message))

    def kill(self) -> None:
        """SIGKILL: a worker has nothing to tidy up."""
        if self._process.returncode is None:
            self.killed_by_us = True
            self._send_sigkill()

    def _send_sigkill(self) -> None:
        """Nothing happens to a process that is dead already.

        Not `Process.kill()`: it polls, and so reaps a worker that has just died. The event loop then finds no child
        and reports 255: why it died would be lost.
        """
        if self._process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            if self._pidfd is None:
                os.kill(self._process.pid, signal.SIGKILL)
            else:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def wait(self) -> int:
        """Until the process has ended and is reaped; its return code."""
        returncode = await self._process.wait()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        # Closed under a waiting receiver, the socket would never wake it.
        if not self._receiving:
            self._connection.close()
        return returncode

    async def _receive(self, timeout_s: float) -> Message:
        self._receiving = True
        try:
            datagram = await self._datagram(timeout_s)
        finally:
            self._receiving = False
        if datagram:
            return messages.decode(datagram)
        self._send_sigkill()
        raise WorkerDied(await self.wait())

    async def _datagram(self, timeout_s: float) -> bytes:
        """Empty: the worker is gone."""
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.get_running_loop().sock_recv(self._connection, messages.MAX_MESSAGE_BYTES)
        except TimeoutError as error:
            raise WorkerStalled from error
        except OSError:
            return b""


def was_out_of_cpu_time(died: WorkerDied) -> bool:
    """The kernel ended the job at its limit: the file's doing, not the machine's."""
    return died.returncode == -signal.SIGXCPU


def _pidfd(pid: int) -> int | None:
    """None: the process has died and is reaped already, or the kernel or its seccomp profile is too old for it."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _environment() -> dict[str, str]:
    """No token, no key. The import path is the server's own, so that both run the same code."""
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return {**kept, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}

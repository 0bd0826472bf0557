"""What a decoder worker cannot do: outlive or starve the server, take its memory, open files, start processes.

Linux only. The worker calls everything here on itself, except `forbid_memory_access`, which the server calls too.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import resource
import signal
from dataclasses import dataclass
from pathlib import Path

from whisper_server.audio import landlock, seccomp
from whisper_server.audio.cpu_time import cpu_time_s
from whisper_server.audio.limits import DecoderLimits

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_OOM_SCORE_ADJ = 500
_PAGE_BYTES = resource.getpagesize()


@dataclass(frozen=True)
class SandboxReport:
    """What this kernel gives."""

    seccomp: bool
    landlock_abi: int
    """0: the kernel has no Landlock."""

    def __str__(self) -> str:
        landlock_text = f"landlock ABI {self.landlock_abi}" if self.landlock_abi else "landlock off"
        return f"seccomp {'on' if self.seccomp else 'off'}, {landlock_text}, no_new_privs on, dumpable off"


def follow_parent(parent_pid: int) -> None:
    """Die with the server, however it ends; and only with it: Ctrl-C and a SIGTERM to the group are ignored."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        raise SystemExit("the server that started this worker is gone")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)


def yield_to_server(niceness: int) -> None:
    """Last in line for the processor, first in line for the kernel's out-of-memory killer."""
    os.nice(niceness)
    with contextlib.suppress(OSError):  # a read-only /proc: nothing depends on it
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE_ADJ), encoding="ascii")


def forbid_memory_access() -> None:
    """Close /proc/PID/mem, ptrace and process_vm_readv to other processes of the same user, and prevent core dumps."""
    _prctl(_PR_SET_DUMPABLE, 0)


def enter(memory: MemoryMeter, limits: DecoderLimits, *, n_descriptors: int) -> SandboxReport:
    """From here on: bounded memory, processor time and files, no new descriptor, and only the calls of `seccomp`.

    Whatever needs a file or a module must have been opened or imported before. Raises OSError.
    """
    # The server's log is not for a worker that a file has taken over.
    for fd in (1, 2):
        os.dup2(0, fd)
    _limit_resources(memory, limits, n_descriptors=n_descriptors)
    forbid_memory_access()
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    landlock_abi = landlock.forbid_everything()
    return SandboxReport(seccomp.install(), landlock_abi)


def _limit_resources(memory: MemoryMeter, limits: DecoderLimits, *, n_descriptors: int) -> None:
    # Above every soft limit: a job that is stopped gets SIGXCPU, not the SIGKILL of the hard limit.
    cpu_s = math.ceil(cpu_time_s(os.getpid()) + limits.max_cpu_per_worker_s) + 2
    for kind, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, n_descriptors),  # bounds numbers, so that no other file can be opened
        (resource.RLIMIT_FSIZE, limits.max_samples_bytes),
        (resource.RLIMIT_AS, memory.virtual_bytes() + limits.memory_bytes),
        (resource.RLIMIT_CPU, cpu_s),  # of its whole life; the server sets the soft limit for each job
    ):
        resource.setrlimit(kind, (value, value))


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value}) failed")


class MemoryMeter:
    """Reads this process's memory through a descriptor opened before the sandbox closed."""

    def __init__(self) -> None:
        self._fd = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)

    def virtual_bytes(self) -> int:
        return self._pages(0) * _PAGE_BYTES

    def rss_bytes(self) -> int:
        return self._pages(1) * _PAGE_BYTES

    def _pages(self, column: int) -> int:
        return int(os.pread(self._fd, 100, 0).split()[column])

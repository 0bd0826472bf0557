"""What a decode worker may not do: outlive the server, starve it, take its memory, open files.

Linux only. Called by the worker on itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import resource
import signal
from pathlib import Path

from whisper_server.audio.limits import DecodeLimits

_PR_SET_PDEATHSIG = 1
_OOM_SCORE_ADJ = 500
_PAGE_BYTES = resource.getpagesize()


def follow_parent(parent_pid: int) -> None:
    """Die with the server, whatever kills it; and only with it, not by Ctrl-C or a SIGTERM to the group."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
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


def limit_resources(memory: MemoryMeter, limits: DecodeLimits, *, n_descriptors: int) -> None:
    """From here on: no core dumps, no more than `n_descriptors` open (so no other file), bounded memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_descriptors, n_descriptors))
    address_space_bytes = memory.virtual_bytes() + limits.memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes, address_space_bytes))


class MemoryMeter:
    """Reads this process's memory through a descriptor opened before descriptors ran out."""

    def __init__(self) -> None:
        self._fd = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)

    def virtual_bytes(self) -> int:
        return self._pages(0) * _PAGE_BYTES

    def rss_bytes(self) -> int:
        return self._pages(1) * _PAGE_BYTES

    def _pages(self, column: int) -> int:
        return int(os.pread(self._fd, 100, 0).split()[column])


class CpuAllowance:
    """Processor time of one job, in proportion to the audio it has brought; the kernel kills with SIGXCPU."""

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self._used_before_s = usage.ru_utime + usage.ru_stime
        self.extend(0)

    def extend(self, decoded_s: float) -> None:
        """So much audio is there by now."""
        allowed_s = self._limits.cpu_base_s + self._limits.cpu_per_audio_s * decoded_s
        soft_s = math.ceil(self._used_before_s + allowed_s)
        resource.setrlimit(resource.RLIMIT_CPU, (soft_s, resource.RLIM_INFINITY))

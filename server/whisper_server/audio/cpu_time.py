"""Processor time of a decoder worker: read by the server, bounded by the kernel.

A job may use time in proportion to the audio that it brings. The server moves the worker's soft limit, and the
kernel kills the worker with SIGXCPU beyond it. The worker itself cannot: its sandbox has no `prlimit`.
"""

from __future__ import annotations

import math
import resource
import time

from whisper_server.audio.limits import DecoderLimits

_CPUCLOCK_SCHED = 2
"""Linux' clock of a process is the number `~pid << 3 | 2` (clock_getcpuclockid(3))."""


def cpu_time_s(pid: int) -> float:
    """User and system time that the process has used. Raises OSError if the process was reaped."""
    return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)


class CpuAllowance:
    """The processor time of one job."""

    def __init__(self, pid: int, limits: DecoderLimits, *, is_long: bool = True) -> None:
        """Raises OSError if the process is gone."""
        self._pid = pid
        self._limits = limits
        self._audio_s = 0.0
        self.is_long = is_long
        self._used_before_s = cpu_time_s(pid)
        self.allow(0)

    def allow(self, audio_s: float) -> None:
        """Set the limit for a job that brings `audio_s` seconds of audio. Raises OSError if the process is gone."""
        self._audio_s = audio_s
        allowed_s = self._full_s if self.is_long else min(self._full_s, self._limits.short_cpu_s)
        _, hard_s = resource.prlimit(self._pid, resource.RLIMIT_CPU)
        soft_s = math.ceil(self._used_before_s + allowed_s)
        if hard_s != resource.RLIM_INFINITY:
            soft_s = min(soft_s, hard_s)
        resource.prlimit(self._pid, resource.RLIMIT_CPU, (soft_s, hard_s))

    @property
    def is_cut(self) -> bool:
        """Whether the job would have more time as a long one."""
        return not self.is_long and self._full_s > self._limits.short_cpu_s

    @property
    def _full_s(self) -> float:
        return self._limits.cpu_base_s + self._limits.cpu_per_audio_s * self._audio_s

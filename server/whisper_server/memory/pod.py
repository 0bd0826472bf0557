"""The memory that this server may use: the container's limit (cgroup v1 and v2) or the pod's request, and what is left of it.

Reads files below a root that tests write themselves; decides nothing about requests. `whisper_runtime.memory` has the
measured figures.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import psutil

from whisper_runtime.memory import DECODER_BYTES, MIB, budget_for_bytes, reserved_bytes
from whisper_server.errors import StartError
from whisper_server.process.children import children

log = logging.getLogger(__name__)

_UNLIMITED_BYTES = 1 << 60
"""cgroup v1 writes the largest whole number of pages for "no limit"."""
DEFAULT_BUDGET_BYTES = 2048 * MIB
"""Where nothing says how much memory there is."""
MIN_BUDGET_OF_REQUEST_BYTES = 512 * MIB
"""A pod that has only a request may take more than it."""


@dataclass(frozen=True)
class PodMemory:
    """How much memory there is for all processes of the container. None: nothing says it."""

    limit_bytes: int | None = None
    """The kernel kills beyond it."""
    request_bytes: int | None = None
    """The node keeps as much free for the pod."""

    @property
    def n_bytes(self) -> int | None:
        return self.limit_bytes if self.limit_bytes is not None else self.request_bytes


def cgroup_limit_bytes(root: Path = Path("/")) -> int | None:
    """The tightest memory limit on this process's cgroup and those above it; None: no limit."""
    limits = []
    for file in _limit_files(root):
        with suppress(OSError, ValueError):
            limits.append(int(file.read_text(encoding="ascii")))  # "max" is no number
    return min((n_bytes for n_bytes in limits if n_bytes < _UNLIMITED_BYTES), default=None)


def _limit_files(root: Path) -> Iterator[Path]:
    """Where a limit may be. In a container the path may be the host's, which cannot be seen: the mount's root is ours."""
    mounts = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = ["0::/", "0:memory:/"]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount, name = mounts, "memory.max"
        elif "memory" in controllers.split(","):
            mount, name = mounts / "memory", "memory.limit_in_bytes"
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            yield mount.joinpath(*parts[:depth], name)


def held_bytes(pids: Iterable[int] | None = None, root: Path = Path("/")) -> int:
    """Memory of these processes, by default this one and its descendants, that the kernel cannot reclaim.

    Shared memory is counted once, by the process that has most of it.
    """
    anonymous_bytes, shared_bytes = 0, [0]
    for pid in _tree() if pids is None else pids:
        with suppress(OSError):
            fields = dict(
                line.split(":", 1) for line in (root / f"proc/{pid}/status").read_text(encoding="utf-8").splitlines()
            )
            anonymous_bytes += _kib(fields, "RssAnon")
            shared_bytes.append(_kib(fields, "RssShmem"))
    return anonymous_bytes + max(shared_bytes)


def _kib(fields: dict[str, str], name: str) -> int:
    return int(fields.get(name, "0 kB").split()[0]) * 1024


def _tree() -> Iterator[int]:
    yield os.getpid()
    waiting = list(children())
    while waiting:
        process = waiting.pop()
        yield process.pid
        with suppress(psutil.Error):
            waiting += children(process)


@dataclass(frozen=True)
class BudgetPlan:
    """The pod's memory, and what the settings ask of it."""

    pod: PodMemory
    _: KW_ONLY
    asked_bytes: int
    """MEMORY_BUDGET_BYTES; 0: what is left."""
    max_upload_bytes: int
    max_audio_s: float
    """Of a recording, where an administrator chose it; 0: by default, and longer than memory may hold."""
    n_workers: int

    def bytes_before_loading(self) -> int:
        """The budget if the model took nothing: the start is refused early where even that is too little."""
        return self.budget_bytes(held_bytes() + self.n_workers * DECODER_BYTES)

    def fit(self, limit_to: Callable[[int], None]) -> None:
        """Give requests what server, model and decoders, all loaded, leave. Raises StartError."""
        held = held_bytes()
        n_bytes = self.budget_bytes(held)
        limit_to(n_bytes)
        there = "no limit" if self.pod.n_bytes is None else f"{self.pod.n_bytes // MIB} MiB"
        log.log(
            logging.WARNING if n_bytes < self.asked_bytes else logging.INFO,
            "Memory budget: %d MiB (MEMORY_BUDGET_BYTES asks for %s); the container has %s, of which server, model and %d "
            "decoders hold %d MiB",
            n_bytes // MIB,
            f"{self.asked_bytes // MIB} MiB" if self.asked_bytes else "what is left",
            there,
            self.n_workers,
            held // MIB,
        )

    def budget_bytes(self, held_bytes: int) -> int:
        """The budget of a server whose processes hold `held_bytes` without any request. Raises StartError."""
        n_bytes = self._left_bytes(held_bytes)
        if n_bytes < self.max_upload_bytes:
            raise StartError(
                f"MEMORY_BUDGET_BYTES: the container's memory limit of {(self.pod.limit_bytes or 0) // MIB} MiB leaves "
                f"{max(0, n_bytes) // MIB} MiB after server, model and decoders ({self.n_workers}), less than one upload "
                f"(MAX_UPLOAD_BYTES, {self.max_upload_bytes / MIB:.3g} MiB): raise the limit (pod.resources.limits.memory), "
                "lower MAX_UPLOAD_BYTES or DECODE_WORKERS, or set MODEL_ID to a smaller model"
            )
        needed_bytes = budget_for_bytes(self.max_audio_s, 0)
        if n_bytes < needed_bytes:
            raise StartError(
                f"MAX_AUDIO_SECONDS (or MAX_DECODED_SECONDS): {self.max_audio_s:g} s of sound take {-(-needed_bytes // MIB)} MiB, and MEMORY_BUDGET_BYTES "
                f"is {n_bytes // MIB} MiB: set a shorter time, or raise the budget and the container's memory limit "
                "(pod.resources.limits.memory)"
            )
        return n_bytes

    def _left_bytes(self, held_bytes: int) -> int:
        reserved = reserved_bytes(held_bytes, self.n_workers)
        if self.pod.limit_bytes is not None:
            left = self.pod.limit_bytes - reserved
            return min(left, self.asked_bytes) if self.asked_bytes else left
        if self.asked_bytes:
            return self.asked_bytes
        least = budget_for_bytes(self.max_audio_s, self.max_upload_bytes)
        if self.pod.request_bytes is None:
            return max(DEFAULT_BUDGET_BYTES, least)
        return max(self.pod.request_bytes - reserved, MIN_BUDGET_OF_REQUEST_BYTES, least)

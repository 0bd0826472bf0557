"""The control groups of a real node's pods: one folder in every hierarchy, gone with all below it at the end.

Works with version 1, version 2, and both at once. Who is put into which group is the kubelet's business.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import psutil

from cluster_kit.layout import Layout
from cluster_kit.tools import Unavailable

EMPTY_LIMIT_S = 20.0
"""A group can be removed a moment after its last process has ended."""


def root(layout: Layout) -> str:
    """The kubelet's cgroupRoot: it tells by the cluster's folder whose it is."""
    return root_of(layout.folder)


def root_of(folder: Path) -> str:
    return f"/whisper-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:7]}"


def make(layout: Layout) -> None:
    """Raises Unavailable."""
    hierarchies = dict(_hierarchies())
    if not hierarchies:
        raise Unavailable("a real node takes control groups, and none are mounted under /sys/fs/cgroup")
    try:
        for mount, version in hierarchies.items():
            if version == 2:
                _hand_on_controllers(mount)
            folder = _folder(mount, layout)
            folder.mkdir(exist_ok=True)
            _inherit_cpus(folder)
    except OSError as refused:
        raise Unavailable(f"a real node takes control groups of its own: {refused}") from None


def remove(layout: Layout) -> None:
    """Those of a node whose processes have ended."""
    deadline_s = time.monotonic() + EMPTY_LIMIT_S
    while left := [folder for mount, _ in _hierarchies() if (folder := _folder(mount, layout)).exists()]:
        for folder in left:
            for path in reversed([*groups_from(folder)]):
                with contextlib.suppress(OSError):
                    path.rmdir()
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"processes are left in {', '.join(map(str, left))}")
        time.sleep(0.02)


def processes_of(layout: Layout, container_id: str) -> list[int]:
    """The processes of a container, by the ids that this machine knows them by."""
    for mount, _ in _hierarchies():
        for folder in groups_from(_folder(mount, layout) / "kubepods"):
            if folder.name == container_id:
                return [pid for group in groups_from(folder) for pid in _members(group)]
    return []


def parents_of(pids: Collection[int]) -> dict[int, int]:
    """The parent of each of these processes, but of those that have ended meanwhile."""
    found = {}
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            found[pid] = psutil.Process(pid).ppid()
    return found


def groups_from(folder: Path) -> Iterator[Path]:
    """This group and all below it, parents first. Those that go meanwhile are passed over, where `glob` would raise."""
    for path, _, _ in os.walk(folder):
        yield Path(path)


def _members(group: Path) -> list[int]:
    """Nobody where it has gone."""
    with contextlib.suppress(OSError):
        return [int(line) for line in (group / "cgroup.procs").read_text().split()]
    return []


def _folder(mount: Path, layout: Layout) -> Path:
    return mount / root(layout).removeprefix("/")


def _hierarchies() -> Iterator[tuple[Path, int]]:
    """Where they are mounted, with the version of each."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        mount, kind = Path(before.split()[4]), after.split()[0]
        if kind in {"cgroup", "cgroup2"} and mount.is_relative_to("/sys/fs/cgroup"):
            yield mount, 2 if kind == "cgroup2" else 1


def _hand_on_controllers(mount: Path) -> None:
    """They stay on for groups below, as systemd leaves most of them: turning them off could harm others'."""
    wanted = set((mount / "cgroup.controllers").read_text().split()) & {"cpu", "cpuset", "hugetlb", "memory", "pids"}
    for name in sorted(wanted - set((mount / "cgroup.subtree_control").read_text().split())):
        (mount / "cgroup.subtree_control").write_text(f"+{name}")


def _inherit_cpus(folder: Path) -> None:
    """In version 1, a group without processors and memory nodes takes no process."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        file = folder / name
        with contextlib.suppress(FileNotFoundError):
            if not file.read_text().strip():
                file.write_text((folder.parent / name).read_text())

"""Child processes are found and killed, with all of their descendants."""

from __future__ import annotations

import multiprocessing
import multiprocessing.resource_tracker
import subprocess
import time

import psutil

from whisper_server.process.children import children, kill


def test_kill_ends_descendants_and_no_other_process() -> None:
    before = children()
    other = subprocess.Popen(["sleep", "60"])
    family = subprocess.Popen(["sh", "-c", "sh -c 'sleep 60 & sleep 60' & sleep 60"])
    try:
        while len(below := psutil.Process(family.pid).children(recursive=True)) < 4:
            time.sleep(0.01)
        members = children() - before
        assert members == {psutil.Process(other.pid), psutil.Process(family.pid)}
        killed = frozenset({psutil.Process(family.pid)})
        kill(killed)
        assert family.wait(5) < 0
        assert psutil.wait_procs(below, 5)[1] == []
        assert other.poll() is None
        kill(killed)  # killing an ended process does not fail
        assert children(psutil.Process(other.pid)) == frozenset()
    finally:
        other.kill()
        other.wait()


def test_resource_tracker_is_not_a_child() -> None:
    before = children()
    with multiprocessing.get_context("spawn").Pool(1):
        assert multiprocessing.resource_tracker._resource_tracker._pid is not None  # type: ignore[attr-defined]
        assert len(children() - before) == 1

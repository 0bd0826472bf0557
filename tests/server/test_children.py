"""Processes below this one are found and ended, however deep they are."""

from __future__ import annotations

import multiprocessing
import multiprocessing.resource_tracker
import subprocess
import time

import psutil

from whisper_server.children import children, kill


def test_a_whole_family_is_killed_and_no_other() -> None:
    before = children()
    other = subprocess.Popen(["sleep", "60"])
    family = subprocess.Popen(["sh", "-c", "sh -c 'sleep 60 & sleep 60' & sleep 60"])
    try:
        while len(below := psutil.Process(family.pid).children(recursive=True)) < 4:
            time.sleep(0.01)
        assert children() - before == {other.pid, family.pid}
        kill(frozenset({family.pid}))
        assert family.wait(5) < 0
        assert psutil.wait_procs(below, 5)[1] == []
        assert other.poll() is None
        kill(frozenset({family.pid}))  # who is gone is no reason to fail
    finally:
        other.kill()
        other.wait()


def test_pythons_resource_tracker_is_left_to_clear_away() -> None:
    before = children()
    with multiprocessing.get_context("spawn").Pool(1):
        assert multiprocessing.resource_tracker._resource_tracker._pid is not None  # type: ignore[attr-defined]
        assert len(children() - before) == 1

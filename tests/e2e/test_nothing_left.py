"""A cluster with a real node goes without a trace and takes nothing along, in whatever way it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster_kit import lifecycle
from cluster_kit.real_node import bring_up
from cluster_kit.tools import Unavailable
from e2e_kit.ends_of_a_cluster import REFUSED, WAYS, bystander_group, namespaces

pytestmark = pytest.mark.test_bed

TESTS = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{TESTS / 'cluster'}:{TESTS / 'kit'}"}
PRIVATE = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
"""Whatever else runs on this machine changes nothing that is compared."""


@pytest.fixture
def prepared(tmp_path: Path) -> None:
    """What is to be fetched and built is so before: in a network of one's own, nothing can be."""
    try:
        bring_up.prepare(tmp_path)
    except Unavailable as why:
        pytest.skip(f"no real node: {why}")


@pytest.mark.timeout(1800)  # where this test comes first on a machine
@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_left_and_nothing_is_gone(prepared: None, tmp_path: Path, way: str) -> None:
    folder = tmp_path / "cluster"
    code = [sys.executable, "-m", "e2e_kit.ends_of_a_cluster", way, str(folder), *namespaces()]
    try:
        # The shell is the first process there, which has to reap orphans.
        done = subprocess.run(
            [*PRIVATE, "sh", "-c", '"$@"; exit $?', "sh", *code],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
    finally:
        lifecycle.down(folder)
        if bystander_group(folder).exists():
            bystander_group(folder).rmdir()
    if done.returncode == REFUSED:
        pytest.skip(f"no real node: {done.stdout.strip()}")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-4000:]}"


@pytest.mark.parametrize("told", ["", "$(readlink /proc/self/ns/mnt /proc/self/ns/net)"])
def test_it_is_refused_where_namespaces_are_shared(prepared: None, tmp_path: Path, told: str) -> None:
    """It changes the mounts and the packet filter of wherever it runs: here, of what has nothing in it."""
    script = f'"$@" {told}; exit $?'
    code = [sys.executable, "-m", "e2e_kit.ends_of_a_cluster", "down", str(tmp_path / "cluster")]
    done = subprocess.run(
        [*PRIVATE, "sh", "-c", script, "sh", *code],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 1
    assert "only in namespaces of its own" in done.stderr

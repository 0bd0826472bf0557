"""A cluster goes down without a trace and without harm to what it did not start, however it comes to its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from cluster_kit import lifecycle, processes, tools
from cluster_kit.control_plane import COMPONENTS
from cluster_kit.layout import Layout, load

pytestmark = pytest.mark.test_bed

CLUSTER = Path(__file__).resolve().parent
IMPORTS = os.pathsep.join([str(CLUSTER), str(CLUSTER.parent / "kit")])
OWNER = """
import sys, time
from pathlib import Path
from cluster_kit import lifecycle, processes
lifecycle.up(Path(sys.argv[1]), owner=processes.this_process())
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture
def bystander() -> Iterator[processes.Process]:
    """A process that has nothing to do with a cluster."""
    with subprocess.Popen(["sleep", "600"]) as popen:
        yield processes.of_pid("bystander", popen.pid)
        popen.kill()


def running_in(folder: Path) -> list[str]:
    """The command lines that name the folder: those of all components do."""
    found = []
    for process in psutil.process_iter():
        try:
            command = " ".join(process.cmdline())
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if str(folder) in command and process.pid != os.getpid():
            found.append(command[:200])
    return found


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def run(verb: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "PYTHONPATH": IMPORTS, "WHISPER_CLUSTER_DIR": str(folder), **environment}
    command = [sys.executable, "-m", "cluster_kit", verb]
    return subprocess.run(command, env=settings, capture_output=True, text=True, check=False, timeout=120)


def becomes_true(holds: Callable[[], bool], limit_s: float = 15) -> bool:
    deadline_s = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.05)
    return True


def nothing_is_left(folder: Path, layout: Layout) -> bool:
    ports = (layout.apiserver_port, layout.datastore_port)
    return not folder.exists() and not running_in(folder) and not any(listens(port) for port in ports)


def test_up_and_down_leave_nothing_and_harm_nothing(
    needs_cluster: None, tmp_path: Path, bystander: processes.Process
) -> None:
    folder = tmp_path / "own"
    layout = lifecycle.up(folder)
    assert set(processes.recorded(layout.processes)) == set(COMPONENTS)
    assert len(running_in(folder)) == len(COMPONENTS)
    assert listens(layout.apiserver_port)
    # An id that was given to somebody else since it was recorded: the start time tells.
    stale = replace(bystander, name="stale", start_ticks=bystander.start_ticks - 1)
    processes.record(stale, layout.processes)
    assert lifecycle.down(folder)
    assert nothing_is_left(folder, layout)
    assert list(tmp_path.iterdir()) == []
    assert bystander.alive
    assert not lifecycle.down(folder)


@pytest.mark.parametrize("component", ["kine", "kube-apiserver"])
def test_down_after_a_crash(needs_cluster: None, tmp_path: Path, component: str) -> None:
    folder = tmp_path / "own"
    layout = lifecycle.up(folder)
    lifecycle.stop_component(layout, component, number=signal.SIGKILL)
    assert component in lifecycle.not_running(layout)
    refused = run("up", folder)
    assert refused.returncode != 0
    assert f"{component} in {folder} is not running: make cluster-down" in refused.stderr
    assert lifecycle.down(folder)
    assert nothing_is_left(folder, layout)


def test_an_owner_that_is_killed_takes_its_cluster_along(needs_cluster: None, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    environment = {**os.environ, "PYTHONPATH": IMPORTS}
    command = [sys.executable, "-c", OWNER, str(folder)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        layout = load(folder)
        assert layout is not None
        owner.kill()
    assert becomes_true(lambda: nothing_is_left(folder, layout))


def test_the_commands_may_be_repeated(needs_cluster: None, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    try:
        first = run("up", folder)
        second = run("up", folder, https_proxy="http://127.0.0.1:1", NO_PROXY="", no_proxy="example.com")
        exported = f"export KUBECONFIG={folder}/kubeconfig\n"
        assert first.stdout.startswith(exported)
        direct = "example.com,127.0.0.1"
        assert second.stdout == f"{exported}export NO_PROXY={direct}\nexport no_proxy={direct}\n"
        assert "is up already" in second.stderr
        layout = load(folder)
        assert layout is not None
    finally:
        ended = run("down", folder)
    assert ended.returncode == 0
    assert nothing_is_left(folder, layout)
    assert f"there is none in {folder}" in run("down", folder).stderr


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    refused = run("up", tmp_path)
    assert refused.returncode != 0
    assert "is not empty and holds no cluster" in refused.stderr
    assert run("down", tmp_path).returncode == 0
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


SLOW_GO = """#!/bin/sh
[ "$1" = env ] && exit
while [ "$1" != -o ]; do shift; done
echo "$2" >>"$(dirname "$0")/built"
sleep 0.1
mkdir -p "$(dirname "$2")"
touch "$2"
"""


def with_go(script: str, folder: Path) -> dict[str, str]:
    """An environment in which the script is the go, and nothing is built yet."""
    go = folder / "bin" / "go"
    go.parent.mkdir()
    go.write_text(script)
    go.chmod(0o755)
    return {"PATH": f"{go.parent}:{os.environ['PATH']}", "WHISPER_TOOLS_CACHE": str(folder / "cache")}


def test_two_that_want_a_tool_build_it_once(tmp_path: Path) -> None:
    environment = {**os.environ, **with_go(SLOW_GO, tmp_path), "PYTHONPATH": IMPORTS}
    command = [sys.executable, "-m", "cluster_kit", "tools"]
    both = [subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    built = (tmp_path / "bin" / "built").read_text().splitlines()
    assert sorted(Path(path).name for path in built) == sorted(tools.TOOLS)
    assert all((tmp_path / "cache" / "bin" / name).exists() for name in tools.TOOLS)
    assert not list((tmp_path / "cache").glob("*.unfinished"))


@pytest.fixture
def too_old_a_go(tmp_path: Path) -> dict[str, str]:
    says = "go: go.mod requires go >= 1.26.5 (running go 1.19)"
    return with_go(f"#!/bin/sh\necho '{says}' >&2\nexit 1\n", tmp_path)


def test_a_go_that_is_too_old_is_named(tmp_path: Path, too_old_a_go: dict[str, str]) -> None:
    refused = run("up", tmp_path / "own", **too_old_a_go)
    assert refused.returncode != 0
    assert "requires go >= 1.26.5 (running go 1.19)" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "own").exists()


def test_tests_are_skipped_where_there_can_be_no_cluster(tmp_path: Path, too_old_a_go: dict[str, str]) -> None:
    test = f"{CLUSTER}/test_cluster_kit.py::test_the_components_are_small"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'base'}", test]
    done = subprocess.run(
        command, env={**os.environ, **too_old_a_go}, cwd=CLUSTER.parents[1], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "1 skipped" in done.stdout
    assert "no test cluster: " in done.stdout
    assert "running go 1.19" in done.stdout

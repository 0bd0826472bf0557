"""The operator as a process that cannot start: one line, and exit code 2."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from operator_kit.operator_process import OperatorProcess
from suite_kit.slow import SLOW

REPOSITORY = Path(__file__).resolve().parents[2]
IMAGES = {"SERVER_IMAGE_GPU": "registry.test/gpu:1", "SERVER_IMAGE_CPU": "registry.test/cpu:1"}
KUBECONFIG = """
{"apiVersion": "v1", "kind": "Config", "current-context": "x",
 "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
 "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "users": [{"name": "u", "user": {}}]}
"""


def start(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(REPOSITORY / "operator"),
        "INTERFACE": "127.0.0.1",
        **environ,
    }
    command = [sys.executable, "-W", "error", "-m", "whisper_operator", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def problem(folder: Path, **environ: str) -> str:
    ended = start(folder, **environ)
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("whisper-operator: ")
    return line.removeprefix("whisper-operator: ")


def test_invalid_setting_stops_the_start(tmp_path: Path) -> None:
    told = problem(tmp_path, SERVER_IMAGE_GPU="registry.test/gpu:1", PORT="http")
    assert told == (
        "SERVER_IMAGE_CPU must be set: image of servers that have none; "
        "PORT must be a whole number from 0 to 65535, not 'http'"
    )


def test_missing_cluster_stops_the_start(tmp_path: Path) -> None:
    told = problem(tmp_path, **IMAGES)
    assert told == "no way to the API server: ~/.kube/config is not there: set KUBECONFIG, or run in a pod"


def test_taken_port_stops_the_start(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        told = problem(tmp_path, **IMAGES, KUBECONFIG=str(kubeconfig), PORT=port, LOG_LEVEL="error")
    assert told.startswith(f"INTERFACE 127.0.0.1 and PORT {port} cannot be listened on: ")


def test_sigterm_stops_it_while_no_api_server_answers(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG)
    operator = OperatorProcess(kubeconfig, tmp_path)
    operator.start()
    operator.wait("waiting", lambda: "the API server does not answer" in operator.ask("/readyz")[1])
    assert operator.ask("/healthz") == (200, "ok\n")
    started_s = time.monotonic()
    assert operator.stop() == 0
    assert time.monotonic() - started_s < 5 * SLOW


@pytest.mark.parametrize(("argument", "said"), [("--version", "whisper-operator 0."), ("--help", "SERVER_IMAGE_GPU")])
def test_help_and_version_are_printed(argument: str, said: str, tmp_path: Path) -> None:
    ended = start(tmp_path, argument)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert said in ended.stdout

"""The command `whisper-server` as a process: exit codes, what it prints, and signals at the worst time."""

from __future__ import annotations

import dataclasses
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from whisper_server import __version__
from whisper_server.settings import Settings

REPOSITORY = Path(__file__).parents[3]
SLOW_IMPORT = """
import importlib.abc, sys, time
class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "whisper_server.settings":
            print("importing", flush=True)
            time.sleep(30)
sys.meta_path.insert(0, Slow())
from whisper_server.__main__ import main
sys.exit(main([]))
"""


def start(*arguments: str, **variables: str) -> subprocess.Popen[str]:
    path = f"{REPOSITORY / 'server'}:{REPOSITORY / 'tests/kit'}"
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=kept | {"PYTHONPATH": path, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str], timeout_s: float = 60) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"it did not end\n{out}\n{err}")
    return process.returncode, out, err


def test_version() -> None:
    assert ended(start("-m", "whisper_server", "--version")) == (0, f"whisper-server {__version__}\n", "")


def test_help_names_every_setting() -> None:
    code, out, _ = ended(start("-m", "whisper_server", "--help"))

    assert code == 0
    assert [field.name for field in dataclasses.fields(Settings) if f" {field.name.upper()} (" not in out] == []
    assert "transcribe" in out


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({}, "MODEL_ID"),
        ({"MODEL_ID": "demo", "PORT": "http"}, "PORT"),
        ({"MODEL_ID": "demo", "LOG_FORMAT": "xml"}, "LOG_FORMAT"),
    ],
)
def test_a_bad_setting_is_one_line_and_exit_code_1(variables: dict[str, str], named: str) -> None:
    code, out, err = ended(start("-m", "whisper_server", **variables))

    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert named in err


def test_model_that_fails_to_load_is_one_line_and_exit_1() -> None:
    code, _, err = ended(start("-m", "http_kit.serve_doubles", "error", MODEL_ID="demo", PORT="0", LOG_LEVEL="error"))

    assert (code, err) == (1, "whisper-server: MODEL_ID=nonsense: there is no such model.\n")


def test_token_leaves_the_environment_once_it_is_read() -> None:
    """Neither a child process nor /proc/PID/environ shows it."""
    code = """
import os, subprocess
from whisper_server.__main__ import settings_from_environment
print(settings_from_environment().hf_token, os.environ.get("HF_TOKEN"), b"hf_secret" in open("/proc/self/environ", "rb").read())
print("hf_secret" in subprocess.check_output(["env"], text=True), os.environ["MODEL_ID"])
"""
    assert ended(start("-c", code, MODEL_ID="demo", HF_TOKEN="hf_secret")) == (
        0,
        "hf_secret None False\nFalse demo\n",
        "",
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_while_modules_are_imported(number: signal.Signals) -> None:
    process = start("-c", SLOW_IMPORT, MODEL_ID="demo")
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    process.send_signal(number)

    assert ended(process, 20) == (0, "", "")


def test_open_files_limit_is_raised_to_the_maximum() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        process = start("-m", "http_kit.serve_doubles", "30", MODEL_ID="demo", PORT="0", INTERFACE="127.0.0.1")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    deadline_s = time.monotonic() + 60
    while resource.prlimit(process.pid, resource.RLIMIT_NOFILE)[0] == 256 and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (min(hard, 65_536), hard)
    process.send_signal(signal.SIGTERM)
    assert ended(process, 20)[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_while_a_thread_loads_the_model(number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    variables = {"MODEL_ID": "demo", "PORT": str(port), "INTERFACE": "127.0.0.1", "LOG_LEVEL": "error"}
    process = start("-m", "http_kit.serve_doubles", "30", **variables)
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    process.send_signal(number)

    assert ended(process, 20) == (0, "", "")

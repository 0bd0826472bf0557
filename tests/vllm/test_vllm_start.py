"""Starts that fail: cancelled while vLLM loads, or refused because of a setting or the checkpoint."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from server_kit.process import (
    DEMO_MODEL,
    ServerProcess,
    environment,
    free_port,
    left_behind,
    name_of,
    shared_files,
    start,
)
from suite_kit.slow import IN_SHORT, SLOW

AT_ONCE_S = 20.0 * SLOW
START_LIMIT_S = 300.0


def _is_listening(server: ServerProcess) -> bool:
    return "Listening on" in server.log()


def _has(name: str) -> Callable[[ServerProcess], bool]:
    # By name: vLLM also starts short-lived processes, to query the machine.
    return lambda server: any(name in name_of(process) for process in server.process.children(recursive=True))


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(
            _is_listening,
            id="vLLM is being imported",
            marks=pytest.mark.before_release(because="while the model loads vLLM has processes as well"),
        ),
        pytest.param(
            _has("EngineCore"),
            id="the model is loading",
            marks=pytest.mark.before_release(
                because="it takes 34 CPU s, and the ends of vLLM's processes are tested in test_vllm_death"
            ),
        ),
    ],
)
def test_sigterm_while_vllm_loads_ends_all_processes_with_0(
    moment: Callable[[ServerProcess], bool], tmp_path: Path, figure: Callable[[str], None]
) -> None:
    before = shared_files()
    server = start({"MODEL_CACHE_DIR": str(tmp_path / "models")}, tmp_path)
    deadline_s = time.monotonic() + START_LIMIT_S
    while not moment(server):
        assert server.popen.poll() is None, server.log()
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    family = server.family()
    begin_s = time.monotonic()
    server.terminate()
    assert server.popen.wait(AT_ONCE_S) == 0, server.log()
    figure(f"SIGTERM while vLLM loads: {len(family)} processes end in {time.monotonic() - begin_s:.1f} s")
    _, alive = psutil.wait_procs(family, timeout=5 * SLOW)
    assert alive == []
    # A process that started after `family` was listed also dies; this waits for it.
    deadline_s = time.monotonic() + 5 * SLOW
    while (left := [*_processes_of(server), *server.temporary.rglob("*")]) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert left == []
    assert {path for path in left_behind(before) if path.startswith("/dev/shm/")} == set()
    assert "Traceback" not in server.log()


def _processes_of(server: ServerProcess) -> list[str]:
    """Ids of the processes that have the server's TMPDIR, which no other process has."""
    variable = f"TMPDIR={server.temporary}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if variable in path.read_bytes().split(b"\0"):
                found.append(path.parent.name)
        except OSError:
            continue
    return found


@dataclass(frozen=True)
class Bad:
    """A start that the server must refuse."""

    settings: Mapping[str, str]
    variable: str
    """The variable that the message names."""
    advice: str
    spoil: Callable[[Path], None] | None = None
    """Damages a copy of the demo model."""
    temporary: str = ""
    """TMPDIR, below the usual folder."""


def _of_another_kind(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "wav2vec2"}), encoding="utf-8")


def _without_tokenizer(folder: Path) -> None:
    for path in folder.glob("*token*"):
        path.unlink()


def _for_ctranslate2(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model.bin")


def _cut_off(folder: Path) -> None:
    path = folder / "model.safetensors"
    os.truncate(path, path.stat().st_size // 2)


BAD = {
    "not Whisper": Bad({}, "MODEL_ID", "set it to a Whisper checkpoint", _of_another_kind),
    "no tokenizer": Bad({}, "MODEL_ID", "set", _without_tokenizer),
    "CTranslate2's": Bad({}, "MODEL_ID", "set ENGINE=ctranslate2", _for_ctranslate2),
    "half a checkpoint": Bad({}, "MODEL_ID", "fetch it again, or set another model", _cut_off),
    "int8": Bad({"DTYPE": "int8"}, "DTYPE", "set it to auto or float32"),
    "bfloat16": Bad({"DTYPE": "bfloat16"}, "DTYPE", "set it to auto or float32"),
    "fp8": Bad({"VLLM_KV_CACHE_DTYPE": "fp8"}, "VLLM_KV_CACHE_DTYPE", "set it to auto"),
    "beams": Bad({"BEAM_SIZE": "5"}, "BEAM_SIZE", "set it to 1"),
    "less than a window": Bad({"VLLM_MAX_NUM_BATCHED_TOKENS": "100"}, "VLLM_MAX_NUM_BATCHED_TOKENS", "set it to 0"),
    "a long way to a socket": Bad({}, "TMPDIR", "set it to a folder of at most", temporary="a-long-name/" * 8),
    "a cache that is a file": Bad({"MODEL_CACHE_DIR": "/dev/null"}, "MODEL_CACHE_DIR", "set it to a folder"),
}


TRIED = ("half a checkpoint",) if IN_SHORT else tuple(BAD)
"""In `make test` one that is found while vLLM loads. Each start imports vLLM, 12 CPU s."""


@dataclass(frozen=True)
class Refusal:
    """The end of a refused start."""

    exit_code: int
    log: str
    left: tuple[Path, ...]


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Refusal]:
    """Refusals by name; two starts run at a time, because each imports vLLM for many seconds."""

    def refused(name: str) -> Refusal:
        return _start_of(BAD[name], tmp_path_factory.mktemp("bad"))

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(TRIED, pool.map(refused, TRIED), strict=True))


def _start_of(bad: Bad, folder: Path) -> Refusal:
    short = Path(tempfile.mkdtemp(prefix="ws-"))
    temporary = short / bad.temporary
    temporary.mkdir(parents=True, exist_ok=True)
    settings = {"MODEL_CACHE_DIR": str(folder / "cache"), **bad.settings}
    if bad.spoil is not None:
        shutil.copytree(DEMO_MODEL, folder / "model")
        bad.spoil(folder / "model")
        settings["MODEL_ID"] = str(folder / "model")
    ended = subprocess.run(
        [os.environ.get("TEST_PYTHON", sys.executable), "-m", "whisper_server"],
        env=environment(settings, free_port(), temporary),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=START_LIMIT_S,
        check=False,
    )
    left = tuple(temporary.rglob("*"))
    shutil.rmtree(short)
    return Refusal(ended.returncode, ended.stdout, left)


@pytest.mark.parametrize("name", TRIED)
def test_bad_start_is_refused_in_one_line_with_the_remedy(name: str, refusals: dict[str, Refusal]) -> None:
    bad, refusal = BAD[name], refusals[name]
    last = refusal.log.rstrip().splitlines()[-1]
    assert last.startswith(f"whisper-server: {bad.variable}"), refusal.log
    assert bad.advice in last
    assert refusal.exit_code == 1
    assert "Traceback" not in refusal.log
    assert refusal.left == ()

"""The cache of converted models: shared by servers, full, unwritable, and with leftovers of killed conversions."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from model_kit.demo import DEMO, checkpoint_like_demo, demo_tensors, write_weights
from whisper_server.engines.ctranslate2 import convert
from whisper_server.engines.ctranslate2.convert import converted_folder
from whisper_server.errors import StartError


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted_folder(DEMO, tmp_path_factory.mktemp("original"))


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model.bin").read_bytes()).hexdigest()


def leftovers(cache: Path) -> list[str]:
    return [path.name for path in cache.glob(".*")]


def test_converted_model_is_reused(tmp_path: Path) -> None:
    first = converted_folder(DEMO, tmp_path)
    written = (first / "model.bin").stat().st_mtime_ns
    assert converted_folder(DEMO, tmp_path) == first
    assert (first / "model.bin").stat().st_mtime_ns == written
    assert leftovers(tmp_path) == []


def test_changed_checkpoint_is_converted_again(tmp_path: Path) -> None:
    checkpoint = checkpoint_like_demo(tmp_path / "model", without=("model.safetensors",))
    write_weights(checkpoint, demo_tensors())
    first = converted_folder(checkpoint, tmp_path / "cache")
    write_weights(checkpoint, {name: tensor * np.float16(0.5) for name, tensor in demo_tensors().items()})
    assert converted_folder(checkpoint, tmp_path / "cache") != first


def test_unwritable_cache_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StartError, match=r"^MODEL_CACHE_DIR: .*set it to a writable folder"):
        converted_folder(DEMO, tmp_path / "file" / "cache")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"this user may not mount a small disk to fill: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_is_refused_by_name_and_left_empty(small_disk: Path) -> None:
    with pytest.raises(StartError, match=r"^MODEL_CACHE_DIR: .*make room there"):
        converted_folder(DEMO, small_disk)
    assert list(small_disk.iterdir()) == []


CONVERT = "import sys; from pathlib import Path; from whisper_server.engines.ctranslate2.convert import converted_folder as convert; "
DIE_WHILE_SAVING = """
import os, signal
from ctranslate2.specs.whisper_spec import WhisperSpec
def die(self, folder):
    Path(folder, "model.bin").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
WhisperSpec.save = die
"""


def start_conversion(cache: Path, first: str = "") -> subprocess.Popen[str]:
    code = f"{CONVERT}{first}\nprint(convert(Path(sys.argv[1]), Path(sys.argv[2])))"
    environ = {**os.environ, "PYTHONPATH": str(Path(convert.__file__).parents[3])}
    return subprocess.Popen(
        [sys.executable, "-c", code, str(DEMO), str(cache)], stdout=subprocess.PIPE, text=True, env=environ
    )


def test_two_servers_convert_into_one_cache(tmp_path: Path, original: Path) -> None:
    running = [start_conversion(tmp_path) for _ in range(2)]
    folders = {process.communicate(timeout=60)[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0]
    (folder,) = folders
    assert digest(Path(folder)) == digest(original)
    assert [path.name for path in tmp_path.iterdir()] == [Path(folder).name]


def test_killed_conversion_is_never_used_and_removed_later(tmp_path: Path, original: Path) -> None:
    killed = start_conversion(tmp_path, DIE_WHILE_SAVING)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    (half,) = tmp_path.iterdir()
    assert half.name.startswith(".converting-")

    folder = converted_folder(DEMO, tmp_path)
    assert digest(folder) == digest(original)
    assert half.exists()  # it may be another server's that is still at it

    long_ago = time.time() - convert.LEFTOVER_AFTER_S - 60
    for path in (half / "model.bin", half):
        os.utime(path, (long_ago, long_ago))
    (folder / "model.bin").unlink()
    converted_folder(DEMO, tmp_path)
    assert not half.exists()


def test_conversion_that_another_server_has_finished_is_accepted(tmp_path: Path) -> None:
    done = threading.Event()

    def convert_again_and_again() -> None:
        working = tmp_path / f"{convert.WORKING_PREFIX}other"
        while not done.is_set():
            working.mkdir()
            (working / "model.bin").write_bytes(b"model")
            working.rename(tmp_path / "converted")
            shutil.rmtree(tmp_path / "converted")

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(convert_again_and_again)
        try:
            for _ in range(20000):
                convert.remove_leftovers(tmp_path)
        finally:
            done.set()
        other.result()


def test_unreadable_conversion_folder_is_ignored(tmp_path: Path) -> None:
    """For example another user's folder; here a file, because root may read every folder."""
    path = tmp_path / f"{convert.WORKING_PREFIX}foreign"
    path.write_bytes(b"")
    assert (converted_folder(DEMO, tmp_path) / "model.bin").exists()
    assert path.exists()

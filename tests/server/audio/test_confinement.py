"""What a worker process can and cannot do, looked at from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audio_kit import files
from audio_kit.signals import sweep
from whisper_server.audio.limits import DecodeLimits
from whisper_server.audio.pool import DecodePool

HEAVY = {
    "aiohttp",
    "asyncio",
    "ctranslate2",
    "librosa",
    "onnxruntime",
    "pydantic",
    "scipy",
    "soundfile",
    "torch",
    "vllm",
}


async def test_a_worker_holds_no_secret_opens_no_file_and_yields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    pool = DecodePool(1, DecodeLimits(niceness=7))
    await pool.start()
    try:
        (pid,) = pool.worker_pids
        proc = Path(f"/proc/{pid}")
        assert b"hf_secret" not in (proc / "environ").read_bytes()
        limits = {line[:26].strip(): line[26:].split()[:2] for line in (proc / "limits").read_text().splitlines()}
        assert limits["Max open files"] == ["7", "7"]
        assert limits["Max core file size"] == ["0", "0"]
        assert int(limits["Max address space"][0]) < 1_200 * 2**20
        # All numbers below the limit that are free are those of the two files of a job.
        assert sorted(int(path.name) for path in (proc / "fd").iterdir()) == [0, 1, 2, 3, 4]
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 7)
        assert int((proc / "oom_score_adj").read_text()) == 500
        for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, ignored)
        await asyncio.sleep(0.05)
        assert _runs(pid)
        assert pool.n_worker_deaths == 0
    finally:
        await pool.stop()


def test_a_worker_imports_little() -> None:
    code = "import sys, whisper_server.audio.worker; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    loaded = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    assert not HEAVY & {name.split(".")[0] for name in loaded.stdout.split()}


@pytest.mark.parametrize("busy", [False, True])
def test_workers_do_not_outlive_a_server_that_is_killed(tmp_path: Path, busy: bool) -> None:
    (tmp_path / "long.wav").write_bytes(files.wav(sweep(90, 16_000), 16_000))
    code = """
import asyncio, signal, os, sys
from pathlib import Path
from whisper_server.audio.limits import DecodeLimits
from whisper_server.audio.memory_file import MemoryFile
from whisper_server.audio.pool import DecodePool

async def main():
    pool = DecodePool(2, DecodeLimits())
    await pool.start()
    print(*pool.worker_pids, flush=True)
    async def work():
        with MemoryFile.create() as file:
            file.write(Path(sys.argv[1]).read_bytes())
            while True:
                with await pool.decode(file):
                    pass
    await asyncio.gather(*(work() for _ in range(4 * int(sys.argv[2]))), asyncio.sleep(60))

asyncio.run(main())
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    arguments = [sys.executable, "-P", "-c", code, str(tmp_path / "long.wav"), str(int(busy))]
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        pids = [int(word) for word in server.stdout.readline().split()]
        assert len(pids) == 2
        time.sleep(0.3 if busy else 0)
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
        server.kill()
        server.wait()
        deadline_s = time.monotonic() + 30
        while any(_runs(pid) for pid in pids):
            assert time.monotonic() < deadline_s
            time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False

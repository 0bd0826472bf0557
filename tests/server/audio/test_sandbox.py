"""What a worker process can and cannot do, looked at from outside."""

from __future__ import annotations

import asyncio
import fcntl
import json
import mmap
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audio_kit import files
from audio_kit.decoding import memory_file
from audio_kit.escapes import ESCAPED, ESCAPES
from audio_kit.signals import sweep
from whisper_server.audio import seccomp
from whisper_server.audio.limits import DecoderLimits
from whisper_server.audio.pool import AudioDecoderPool

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


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """By attempt: what became of it in the sandbox, and outside of it; see `audio_kit.escapes`."""
    folder = tmp_path_factory.mktemp("secrets")
    for name in ("api-keys", "token"):
        (folder / name).write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        targets = {
            "read_passwd": "/etc/passwd",
            "read_service_account_token": str(folder / "token"),
            "read_api_keys": str(folder / "api-keys"),
            "write_file": str(folder / "written"),
            "connect_to_loopback": str(listener.getsockname()[1]),
        }
        printed = subprocess.run(
            [sys.executable, "-P", "-m", "audio_kit.escapes", json.dumps(targets)],
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
    found: dict[str, list[str]] = json.loads(printed)
    return found


@pytest.mark.parametrize("name", ESCAPES)
def test_escape_from_worker_is_killed_by_sandbox(name: str, outcomes: dict[str, list[str]]) -> None:
    assert outcomes[name][0] == "SIGSYS"


@pytest.mark.parametrize("name", ["read_passwd", "write_file", "connect_to_loopback", "exec", "fork", "kill_parent"])
def test_escape_without_sandbox_succeeds(name: str, outcomes: dict[str, list[str]]) -> None:
    """So that the test above cannot pass because an attempt is badly made."""
    assert outcomes[name][1] == ESCAPED


def test_allowed_system_calls_are_these() -> None:
    """A longer list is a decision about security: change it here, and say in the commit why decoding needs the call."""
    assert sorted(call.name for call in seccomp.ALLOWED) == sorted(
        [
            "brk",
            "clock_gettime",
            "close",
            "exit",
            "exit_group",
            "fcntl",
            "futex",
            "lseek",
            "madvise",
            "mmap",
            "mprotect",
            "mremap",
            "munmap",
            "pread64",
            "preadv",
            "preadv2",
            "pwrite64",
            "recvfrom",
            "recvmsg",
            "restart_syscall",
            "rt_sigreturn",
            "sched_yield",
            "sendto",
            "write",
        ]
    )
    conditions = {call.name: (call.argument, call.equals, call.without) for call in seccomp.ALLOWED}
    assert {name: condition for name, condition in conditions.items() if condition[0] is not None} == {
        "fcntl": (1, fcntl.F_ADD_SEALS, 0),
        "mmap": (2, None, mmap.PROT_EXEC),
        "mprotect": (2, None, mmap.PROT_EXEC),
        "recvfrom": (0, 3, 0),
        "recvmsg": (0, 3, 0),
        "sendto": (0, 3, 0),
        "write": (0, 2, 0),
    }


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_filter_has_form_that_kernel_accepts(machine: str) -> None:
    """The kernel allows 4,096 instructions; each path ends in a return, and no number is used twice."""
    program = seccomp.compile_filter(machine)
    instructions = list(struct.iter_unpack("=HBBI", program))
    assert len(instructions) < 4_096
    assert instructions[-1][0] == instructions[2][0] == 0x06
    for at, (code, if_true, if_false, _value) in enumerate(instructions):
        if code & 0x07 == 0x05:
            assert at + 1 + max(if_true, if_false) < len(instructions)
    numbers = [getattr(call, machine) for call in seccomp.ALLOWED]
    assert len(set(numbers)) == len(numbers)


async def test_pool_logs_sandbox_once_at_start(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "whisper_server.audio.pool"):
        pool = AudioDecoderPool(2, DecoderLimits())
        await pool.start()
        await pool.stop()
    lines = [record.getMessage() for record in caplog.records if "sandbox" in record.getMessage()]
    assert len(lines) == 1
    assert re.fullmatch(
        r"audio decoder sandbox: seccomp on, landlock (off|ABI \d+), no_new_privs on, dumpable off", lines[0]
    )


async def test_rich_containers_pass_sandbox() -> None:
    """Tracks besides the sound need no module, no file and no system call that is not there yet."""
    async with asyncio.timeout(120):
        pool = AudioDecoderPool(1, DecoderLimits())
        await pool.start()
        for container in ("mp4", "matroska", "mov"):
            content = files.with_all_kinds_of_streams(sweep(2, 48_000), 48_000, container)
            with memory_file(content) as file, await pool.read_audio(file) as audio:
                assert audio.duration_s == pytest.approx(2, abs=0.05)
        await pool.stop()
    assert (pool.n_worker_deaths, pool.n_sandbox_kills) == (0, 0)


async def test_eight_channels_pass_sandbox() -> None:
    """More planes than PyAV takes go through a filter graph, which starts a thread per core unless it is held to one."""
    async with asyncio.timeout(120):
        pool = AudioDecoderPool(1, DecoderLimits())
        await pool.start()
        for container, codec in (("mp4", "aac"), ("ogg", "libopus"), ("wv", "wavpack")):
            content = files.by_ffmpeg(sweep(2, 48_000, n_channels=8), 48_000, container, codec)
            with memory_file(content) as file, await pool.read_audio(file) as audio:
                assert audio.duration_s == pytest.approx(2, abs=0.05)
        await pool.stop()
    assert (pool.n_worker_deaths, pool.n_sandbox_kills) == (0, 0)


def test_reading_imports_no_module_after_warm_up(tmp_path: Path) -> None:
    paths = []
    for n, container in enumerate(("mp4", "matroska", "mov")):
        paths.append(tmp_path / str(n))
        paths[-1].write_bytes(files.with_all_kinds_of_streams(sweep(2, 48_000), 48_000, container))
    code = """
import os, sys
from whisper_server.audio.limits import DecoderLimits
from whisper_server.audio.read_audio import read_audio
from whisper_server.audio.upload_reader import UploadReader
from whisper_server.audio.worker import warm_up

warm_up()
before = set(sys.modules)
for path in sys.argv[1:]:
    assert sum(map(len, read_audio(UploadReader(os.open(path, os.O_RDONLY)), DecoderLimits()))) > 31_000
print(*set(sys.modules) - before)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    imported = subprocess.run(
        [sys.executable, "-P", "-c", code, *map(str, paths)],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert imported.stdout.split() == []


async def test_a_worker_holds_no_secret_opens_no_file_and_yields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    pool = AudioDecoderPool(1, DecoderLimits(niceness=7))
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
        # Niceness counts within a session only (sched_autogroup); Ctrl-C reaches no other process group.
        assert os.getsid(pid) == os.getsid(0)
        assert os.getpgid(pid) == pid
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
from whisper_server.audio.limits import DecoderLimits
from whisper_server.audio.memory_file import MemoryFile
from whisper_server.audio.pool import AudioDecoderPool

async def main():
    pool = AudioDecoderPool(2, DecoderLimits())
    await pool.start()
    print(*pool.worker_pids, flush=True)
    async def work():
        with MemoryFile.create() as file:
            file.write(Path(sys.argv[1]).read_bytes())
            while True:
                with await pool.read_audio(file):
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

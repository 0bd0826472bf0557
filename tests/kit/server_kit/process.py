"""Starts the real server as a process of its own, and sees that nothing is left of it afterwards.

What the server is asked over HTTP belongs to `api`.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

REPOSITORY = Path(__file__).resolve().parents[3]
DEMO_MODEL = REPOSITORY / "models" / "whisper-demo"
START_LIMIT_S = 600.0
"""vLLM takes minutes to start on a slow machine."""
STOP_LIMIT_S = 120.0


@dataclass(frozen=True)
class ServerProcess:
    """A server that runs; `url` has no trailing slash."""

    url: str
    port: int
    popen: subprocess.Popen[bytes]
    log_path: Path
    temporary: Path
    """The server's own TMPDIR."""

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self.popen.pid)

    def family(self) -> list[psutil.Process]:
        """The server and all processes under it."""
        return [self.process, *self.process.children(recursive=True)]

    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def terminate(self) -> None:
        self.popen.send_signal(signal.SIGTERM)


@dataclass(frozen=True)
class Ending:
    """What a server left behind."""

    exit_code: int
    orphans: tuple[str, ...]
    files: tuple[str, ...]
    """In its TMPDIR and in /dev/shm."""


StartServer = Callable[[Mapping[str, str]], AbstractContextManager[ServerProcess]]
"""Starts a server with these settings and ends it."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def environment(settings: Mapping[str, str], port: int, temporary: Path) -> dict[str, str]:
    """This process's environment, less whatever would set up another server, plus `settings`."""
    inherited = {key: value for key, value in os.environ.items() if key not in {"ENGINE", "MODEL_ID", "PORT"}}
    return inherited | {
        "PYTHONPATH": os.pathsep.join(
            [*(str(REPOSITORY / part) for part in ("runtime", "server")), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
        "TMPDIR": str(temporary),
        "MODEL_ID": str(DEMO_MODEL),
        "ENGINE": os.environ.get("TEST_ENGINE", "ctranslate2"),
        "INTERFACE": "127.0.0.1",
        "PORT": str(port),
        "DRAIN_SECONDS": "0",
        **settings,
    }


def start(settings: Mapping[str, str], folder: Path) -> ServerProcess:
    """Start a server and return at once; `folder` takes its log."""
    folder.mkdir(parents=True, exist_ok=True)
    # Not in `folder`: vLLM makes sockets in it, whose addresses must be short.
    temporary = Path(tempfile.mkdtemp(prefix="ws-"))
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    port = free_port()
    log_path = folder / f"server-{port}.log"
    with log_path.open("wb") as log:
        popen = subprocess.Popen(
            [os.environ.get("TEST_PYTHON", sys.executable), "-m", "whisper_server"],
            env=environment(settings, port, temporary),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    return ServerProcess(f"http://127.0.0.1:{port}{settings.get('ROOT_PATH', '')}", port, popen, log_path, temporary)


def wait_until_ready(server: ServerProcess, limit_s: float = START_LIMIT_S) -> None:
    """Return once /ready says 200. Raises RuntimeError, with the log, where it does not come to that."""
    deadline_s = time.monotonic() + limit_s
    while time.monotonic() < deadline_s:
        if server.popen.poll() is not None:
            raise RuntimeError(f"the server ended with {server.popen.returncode}:\n{server.log()}")
        try:
            if httpx.get(f"{server.url}/ready", timeout=5).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"the server is not ready after {limit_s} s:\n{server.log()}")


def name_of(process: psutil.Process) -> str:
    """Empty if it has ended, as any process may at any time."""
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def command_of(process: psutil.Process) -> str:
    """Empty if it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def stop(server: ServerProcess, shared_before: frozenset[str]) -> Ending:
    """SIGTERM, wait, and look for what is left. A server that does not end in time is killed: exit code −9."""
    family = server.family() if server.popen.poll() is None else []
    server.terminate()
    try:
        exit_code = server.popen.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        server.popen.kill()
        exit_code = server.popen.wait()
    _, alive = psutil.wait_procs(family, timeout=2)
    orphans = tuple(f"{process.pid} {name_of(process)}" for process in alive)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    files = [str(path) for path in server.temporary.rglob("*")] + sorted(left_behind(shared_before))
    return Ending(exit_code, orphans, tuple(files))


def shared_files() -> frozenset[str]:
    """Named files in shared memory. Each server has a temporary folder of its own, which is checked separately."""
    return frozenset(str(path) for path in Path("/dev/shm").glob("*"))


def left_behind(before: frozenset[str]) -> frozenset[str]:
    """New shared files that no living process has open: other servers may run on this machine."""
    new = shared_files() - before
    held = _held_inodes() if new else set()
    return frozenset(path for path in new if _inode(path) not in {None, *held})


def _inode(path: str | Path) -> int | None:
    try:
        return Path(path).stat().st_ino
    except OSError:
        return None


def _held_inodes() -> set[int]:
    """Of what processes have mapped from shared memory or open. By number: a semaphore is mapped under another name."""
    held: set[int] = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            maps = Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8", errors="replace")
            held |= {int(line.split(maxsplit=5)[4]) for line in maps.splitlines() if "/dev/shm/" in line}
            held |= {inode for path in Path(f"/proc/{process.pid}/fd").iterdir() if (inode := _inode(path)) is not None}
    return held


@contextmanager
def running(settings: Mapping[str, str], folder: Path) -> Iterator[ServerProcess]:
    """A server that is ready; on leaving it must end with 0 and leave nothing behind."""
    shared_before = shared_files()
    server = start(settings, folder)
    try:
        wait_until_ready(server)
        yield server
    except BaseException:
        stop(server, shared_before)
        raise
    ending = stop(server, shared_before)
    if ending != Ending(0, (), ()):
        raise AssertionError(f"the server did not end well: {ending}\n{server.log()[-4000:]}")


def output_of_bench(script: str, arguments: Sequence[str], limit_s: float = 280) -> list[str]:
    """Run a script of bench/ to its end, which must be a good one. The lines that it printed."""
    done = subprocess.run(
        [sys.executable, REPOSITORY / "bench" / script, *arguments],
        env=os.environ | {"PYTHONPATH": f"{REPOSITORY / 'demo'}:{REPOSITORY / 'tests' / 'kit'}"},
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()

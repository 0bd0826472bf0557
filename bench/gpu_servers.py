"""Servers for the GPU benchmark: this one and vLLM's own, started on one GPU, and stopped in every case.

What they are asked belongs to `gpu_load` and `gpu_beside_vllm`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
END_LIMIT_S = 20.0
HEARS = "-demo"
"""Ends the names of shapes whose weights hear (`demo_in_shape`)."""
BEST = ("--max-num-batched-tokens", "32768", "--max-num-seqs", "256", "--api-server-count", "6")
BEST_512 = ("--max-num-batched-tokens", "32768", "--max-num-seqs", "512", "--api-server-count", "6")


@dataclass(frozen=True)
class Server:
    """How a server is started, and the form fields that its clients send."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    ready_path: str
    fields: Mapping[str, str] = field(default_factory=dict)
    """Form fields that make it do the same work."""


def ours(name: str, model: Path, share: float, port: int, *, work: Path, more: Mapping[str, str]) -> Server:
    """This server: one temperature, 100 tokens; weights that hear end their texts themselves."""
    environment = {
        "PYTHONPATH": os.pathsep.join(
            [*(str(ROOT / part) for part in ("runtime", "server")), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
        "INTERFACE": "127.0.0.1",
        "PORT": str(port),
        "MODEL_ID": str(model),
        "MODEL_CACHE_DIR": str(work / "cache"),
        "ENGINE": "vllm",
        "VLLM_GPU_MEMORY_UTILIZATION": str(share),
        "MAX_NEW_TOKENS": "0" if model.name.endswith(HEARS) else "100",
        "FALLBACK_TEMPERATURES": "0",
        "MAX_QUEUE_SECONDS": "7200",  # no request is refused: 256 clients wait for each other
        "DRAIN_SECONDS": "0",
        "LOG_LEVEL": "warning",
    }
    return Server(name, (sys.executable, "-m", "whisper_server"), environment | dict(more), "/ready")


def theirs(name: str, model: Path, share: float, port: int, options: tuple[str, ...]) -> Server:
    """The server that vLLM ships (`vllm serve`)."""
    serve = (sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(model), "--served-model-name", "whisper-1")
    where = ("--host", "127.0.0.1", "--port", str(port), "--gpu-memory-utilization", str(share))
    asked = {"max_completion_tokens": "100", "temperature": "0"}
    return Server(name, (*serve, *where, *options), {"VLLM_NO_USAGE_STATS": "1"}, "/health", asked)


class NotThereError(Exception):
    """A server did not start."""


class Running:
    """A server's processes: a group of their own, with a log."""

    def __init__(self, server: Server, port: int, log: Path) -> None:
        self.server, self.log = server, log
        self.url = f"http://127.0.0.1:{port}"
        self._began_s = time.monotonic()
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"} | dict(server.environment)
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                server.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_ready(self, limit_s: float) -> float:
        """Seconds since its start."""
        while not self._answers():
            code, taken_s = self._process.poll(), time.monotonic() - self._began_s
            if code is not None or taken_s > limit_s:
                why = f"ended with {code}" if code is not None else f"is not there after {taken_s:.0f} s"
                raise NotThereError(f"{self.server.name} {why}, see {self.log}:\n{self._logged()[-3000:]}")
            time.sleep(0.3)
        return time.monotonic() - self._began_s

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.url + self.server.ready_path, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _logged(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def terminate(self) -> None:
        """SIGTERM."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def end(self, limit_s: float) -> None:
        """Wait, then SIGKILL for the whole group: no process of it may hold the GPU."""
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            print(f"{self.server.name} did not end in time", file=sys.stderr)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def end_all(running: Collection[Running]) -> None:
    """All at once, so that it takes no longer than for one."""
    until_s = time.monotonic() + END_LIMIT_S
    for one in running:
        one.terminate()
    for one in running:
        one.end(max(0.1, until_s - time.monotonic()))

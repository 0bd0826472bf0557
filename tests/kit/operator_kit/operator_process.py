"""Starts the real operator as a separate process with a kubeconfig, and checks that it has ended afterwards.

operator = OperatorProcess(cluster.kubeconfig, folder, {"DRIFT_SECONDS": "2"})
with operator.running(): …
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from suite_kit.slow import SLOW

REPOSITORY = Path(__file__).resolve().parents[3]
START_LIMIT_S = 60.0
STOP_LIMIT_S = 15.0
IMAGES = {
    "SERVER_IMAGE_GPU": "registry.test/whisper-server:gpu",
    "SERVER_IMAGE_CPU": "registry.test/whisper-server:cpu",
}
QUICK = {"DRIFT_SECONDS": "2", "MISSING_SECONDS": "1", "LEASE_SECONDS": "8", "LOG_LEVEL": "debug"}
"""Shortened periods, for tests that would wait for them otherwise."""
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


class OperatorProcess:
    """An operator that can be started, asked, killed and started again."""

    def __init__(self, kubeconfig: Path, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(folder),
            "PYTHONPATH": str(REPOSITORY / "operator"),
            "PYTHONWARNINGS": "error::ResourceWarning,default",
            "KUBECONFIG": str(kubeconfig),
            "INTERFACE": "127.0.0.1",
            "PORT": "0",
            "IDENTITY": f"test-{os.getpid()}-{id(self):x}",
            **IMAGES,
            **QUICK,
            **(settings or {}),
        }
        self.popen: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.codes: list[int] = []
        """Exit codes of those that ended by themselves while they were kept running."""
        self._starting = threading.Lock()
        self._is_kept = False

    @property
    def log_path(self) -> Path:
        return self.folder / f"operator-{self.starts}.log"

    @property
    def process(self) -> psutil.Process:
        assert self.popen is not None, "started"
        return psutil.Process(self.popen.pid)

    @property
    def port(self) -> int:
        """Known once it is logged."""
        found = re.search(r'"message": "started".*?"port": (\d+)', self.log())
        if found is None:
            raise RuntimeError(f"the operator has not said where it listens:\n{self.log()}")
        return int(found[1])

    def log(self) -> str:
        """Log of the last start."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def messages(self) -> list[str]:
        whole = self.log().rpartition("\n")[0]  # the last line may be under way
        return [json.loads(line)["message"] for line in whole.splitlines() if line.startswith("{")]

    def start(self) -> None:
        """Returns at once."""
        with self._starting:
            assert self.popen is None or self.popen.poll() is not None, "one at a time"
            self.starts += 1
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.log_path.open("wb") as log:
                self.popen = subprocess.Popen(
                    # setpriv: it dies with us, even where we are killed.
                    ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "whisper_operator"],
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )

    def kill(self) -> None:
        """As if the node had lost power."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; the exit code. What does not end in time is killed: −9."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        assert self.popen is not None, "started"
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        try:
            return self.popen.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return self.popen.wait()

    def ask(self, path: str) -> tuple[int, str]:
        """Answer of /healthz, /readyz or /metrics; status 0 without an answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except (OSError, RuntimeError) as error:
            return 0, str(error)

    def metrics(self) -> dict[tuple[str, str], float]:
        """By name, without the prefix, and labels as Prometheus writes them; none where a busy operator does not answer."""
        status, text = self.ask("/metrics")
        if status != 200:
            return {}
        return {(name.removeprefix("whisper_operator_"), labels): float(n) for name, labels, n in SAMPLE.findall(text)}

    @property
    def leads(self) -> bool:
        return self.metrics().get(("leader", "")) == 1.0

    def wait(self, what: str, holds: Callable[[], bool], limit_s: float = START_LIMIT_S) -> None:
        deadline_s = time.monotonic() + limit_s * SLOW
        while not holds():
            code = None if self.popen is None else self.popen.poll()
            if code is not None and not self._is_kept:
                raise RuntimeError(f"the operator ended with {code}:\n{self.log()[-4000:]}")
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"not {what} after {limit_s} s:\n{self.log()[-4000:]}")
            time.sleep(0.05)

    def wait_until_leading(self, limit_s: float = START_LIMIT_S) -> None:
        self.wait("leading", lambda: self.leads and "caches synced" in self.messages(), limit_s)

    @contextmanager
    def running(self) -> Iterator[OperatorProcess]:
        """Starts it and waits until it is the leader; on exit it must shut down cleanly."""
        self.start()
        try:
            self.wait_until_leading()
            yield self
        except BaseException:
            self.kill()
            raise
        code = self.stop()
        if code != 0:
            raise AssertionError(f"the operator ended with {code}:\n{self.log()[-4000:]}")

    @contextmanager
    def kept_running(self) -> Iterator[OperatorProcess]:
        """The same, and started again whenever it ends, as a kubelet would."""
        over = threading.Event()

        def keep() -> None:
            while not over.wait(0.2):
                code = None if self.popen is None else self.popen.poll()
                if code is not None:
                    self.codes.append(code)
                    self.start()

        keeper = threading.Thread(target=keep, daemon=True)
        self._is_kept = True
        self.start()
        keeper.start()
        try:
            self.wait_until_leading()
            yield self
        finally:
            over.set()
            keeper.join()
            self._is_kept = False
            self.kill()

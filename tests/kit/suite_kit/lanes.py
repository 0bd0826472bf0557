"""Steps of a test run in two lanes at once: one lane mostly waits (for leases, back-offs, rollouts), one computes.

The rest, which may run beside anything, falls to the lane that is through first: both end together on any machine.

Each step is a process with a log and a JUnit report of its own. What the reports say is in `reports`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from suite_kit.reports import NO_TESTS_COLLECTED, Report, read

SAY_EVERY_S = 60.0
PERCENT = re.compile(r"\[ *(\d+%)\]")


@dataclass(frozen=True)
class Step:
    """A command. Its log is `NAME.log`; a step of tests writes its report to `NAME.xml`."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    has_report: bool = True
    """False for a step that prepares something: its failure fails no test by itself, tests say what they lack."""
    is_nice: bool = False


@dataclass(frozen=True)
class Finished:
    """A step that has ended. CPU time is that of the step's process and of all its children that it waited for."""

    step: Step
    exit_code: int
    wall_s: float
    cpu_s: float
    report: Report

    @property
    def is_failure(self) -> bool:
        if not self.step.has_report:
            return False
        return self.exit_code not in {0, NO_TESTS_COLLECTED} or self.report.n_bad > 0


class Run:
    """A test run: its folder of logs, what has ended so far, and the processes that are at work."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.finished: list[Finished] = []
        self._say = say
        self._lock = threading.RLock()  # `end` is called by a signal, wherever this thread is
        self._at_work: dict[str, subprocess.Popen[bytes]] = {}
        self._is_over = False
        self._started_s = time.monotonic()

    @property
    def wall_s(self) -> float:
        return time.monotonic() - self._started_s

    def run(self, lanes: Sequence[Sequence[Step]], rest: Sequence[Step] = ()) -> None:
        """Run each lane's steps in their order, the lanes side by side; a lane that is through takes the next of the rest.

        Returns when all have ended.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        shared = deque(rest)
        threads = [threading.Thread(target=self._run_lane, args=(deque(lane), shared), daemon=True) for lane in lanes]
        for thread in threads:
            thread.start()
        said_s = time.monotonic()
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.5)
            if time.monotonic() - said_s > SAY_EVERY_S:
                said_s = time.monotonic()
                self._say_progress()

    def end(self) -> None:
        """End all steps that are at work, as Ctrl-C would: pytest then takes its fixtures down."""
        self._is_over = True
        with self._lock:
            for popen in self._at_work.values():
                with suppress(ProcessLookupError):  # it has just ended
                    os.killpg(popen.pid, signal.SIGINT)

    def _run_lane(self, own: deque[Step], shared: deque[Step]) -> None:
        while not self._is_over:
            with self._lock:
                steps = own or shared
                if not steps:
                    return
                step = steps.popleft()
            finished = self._run_step(step)
            with self._lock:
                self.finished.append(finished)
                self._say(f"{self._clock()} {step.name}: {_outcome(finished)}")
                if finished.is_failure or finished.exit_code not in {0, NO_TESTS_COLLECTED}:
                    self._say(
                        f"---- {step.name}: all that it printed\n{self._log_of(step)}---- {step.name}: end of log"
                    )

    def _run_step(self, step: Step) -> Finished:
        report = self.folder / f"{step.name}.xml"
        report.unlink(missing_ok=True)
        command = [*(["nice", "-n", "10"] if step.is_nice else []), *step.command]
        if step.has_report:
            command.append(f"--junitxml={report}")
        with self._lock:
            self._say(f"{self._clock()} {step.name}: starts")
        started_s = time.monotonic()
        with self._path_of_log(step).open("wb") as log:
            popen = subprocess.Popen(
                command,
                env={**os.environ, **step.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Not in our process group: Ctrl-C reaches it once, through `end`.
                process_group=0,
            )
            with self._lock:
                self._at_work[step.name] = popen
            _, status, usage = os.wait4(popen.pid, 0)
            popen.returncode = os.waitstatus_to_exitcode(status)
        with self._lock:
            del self._at_work[step.name]
        return Finished(
            step,
            popen.returncode,
            time.monotonic() - started_s,
            usage.ru_utime + usage.ru_stime,
            read(report) if step.has_report else Report(),
        )

    def _say_progress(self) -> None:
        with self._lock:
            parts = [f"{name} {self._progress_of(name)}" for name in self._at_work]
            self._say(f"{self._clock()} {' · '.join(parts)}")

    def _progress_of(self, name: str) -> str:
        """How far pytest is; what a step prints last where it is not pytest, or is not that far."""
        text = (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        percents = PERCENT.findall(text)
        lines = text.strip().splitlines()
        return percents[-1] if percents else lines[-1][:120] if lines else "…"

    def _clock(self) -> str:
        return f"[{int(self.wall_s) // 60:02}:{int(self.wall_s) % 60:02}]"

    def _path_of_log(self, step: Step) -> Path:
        return self.folder / f"{step.name}.log"

    def _log_of(self, step: Step) -> str:
        return self._path_of_log(step).read_text(encoding="utf-8", errors="replace")


def _outcome(finished: Finished) -> str:
    said = finished.report.summary() if finished.step.has_report else f"exit code {finished.exit_code}"
    return f"{said}; {finished.wall_s:.0f} s, {finished.cpu_s:.0f} CPU s"


def say(text: str) -> None:
    print(text, file=sys.stdout, flush=True)

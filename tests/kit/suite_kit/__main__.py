"""make test and make test-all: `python -m suite_kit test | all [PYTEST-ARGUMENT…]`, in the root of the checkout.

The closing line is pytest's own form, over all tiers. Logs and reports of the tiers are in .test-logs.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType

from suite_kit import bed
from suite_kit.lanes import Run, Step, say
from suite_kit.reports import figures, skips, slowest, summary

LOGS = Path(".test-logs")
N_CLUSTERS = 3
"""Workers of the cluster tier. Each has a cluster of its own, 650 MB, and waits most of the time."""
SLOW = "3"
"""Both lanes load the machine: bounds on time are this much longer than in a tier that runs alone."""
TIMEOUT_S = 900
UNITS = ("tests/operator", "tests/server", "tests/conformance", "tests/fuzz")
LONG = {
    "WHISPER_KILLS": "20",
    "WHISPER_STILL_SECONDS": "120",
    "WHISPER_OUTAGE_SECONDS": "60",
    "WHISPER_ANSWER_SECONDS": "180",
    "WHISPER_STREAM_SECONDS": "300",
}
"""What `make test-all` waits for; `make test` waits as long as the tests' own defaults say."""


def main(verb: str, arguments: list[str]) -> int:
    is_all = verb == "all"
    os.environ.setdefault("SLOW", SLOW)
    for name, value in LONG.items() if is_all else ():
        os.environ.setdefault(name, value)
    os.environ["TEST_ALL"] = "1" if is_all else ""
    os.environ["TEST_IN_SHORT"] = "" if is_all else "1"
    os.environ["TEST_BED_UNCHANGED"] = "" if is_all else bed.reason_to_skip(Path())
    shutil.rmtree(LOGS, ignore_errors=True)
    run = Run(LOGS, say)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        run.end()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    run.run(*lanes(arguments))
    return report(run)


def lanes(arguments: list[str]) -> tuple[list[list[Step]], list[Step]]:
    """The waiting lane and the computing one, which gives way to it; and the steps for the lane that is through first."""
    pytest = (f"{sys.prefix}/bin/pytest", "--color=no", f"--override-ini=timeout={TIMEOUT_S}")
    several = ("--dist=loadfile",)
    tools = (sys.executable, "-m", "cluster_kit", "tools")
    kits = {"PYTHONPATH": "tests/cluster:tests/kit"}
    vllm = ("scripts/test_vllm.sh",)
    limit = f"--override-ini=timeout={TIMEOUT_S}"
    waiting = [
        Step("cluster-tools", (*tools, "simulated"), kits, has_report=False),
        Step("cluster", (*pytest, "tests/cluster", f"-n{N_CLUSTERS}", *several, *arguments)),
        Step("node-tools", (*tools, "real"), kits, has_report=False),
        Step("images", ("scripts/build.sh", "archives"), has_report=False),
        Step("e2e", (*pytest, "tests/e2e", *arguments)),
    ]
    computing = [
        Step("units", (*pytest, *UNITS, "-n2", *several, *arguments)),
        Step("chart-tools", (*tools, "charts"), kits, has_report=False),
        Step("contract", (*pytest, "tests/contract", "-n2", *several, *arguments)),
        Step("api", (*pytest, "tests/api", "-n2", *several, *arguments)),
    ]
    rest = [
        Step("vllm", (*vllm, "api", limit, *arguments)),
        Step("real", (*pytest, "tests/real", *arguments)),
        Step("vllm-conformance", (*vllm, "conformance", limit, *arguments)),
        Step("torch-conformance", (*vllm, "torch", limit, *arguments)),
    ]
    return [waiting, [replace(step, is_nice=True) for step in computing]], rest


def report(run: Run) -> int:
    """Print what all tiers have found. The exit code of the run."""
    steps = [finished for finished in run.finished if finished.step.has_report]
    reports = [finished.report for finished in steps]
    if figures(reports):
        _section("figures")
        say("\n".join(figures(reports)))
    if skips(reports):
        _section("skipped")
        for reason, files in sorted(skips(reports).items()):
            say(f"{sum(files.values())} skipped: {reason}")
            say("    " + ", ".join(f"{file} ({n})" for file, n in sorted(files.items())))
    _section("slowest tests")
    for case in slowest(reports):
        say(f"{case.time_s:7.1f} s  {case.file}::{case.name}")
    _section("tiers")
    for finished in run.finished:
        said = finished.report.summary() if finished.step.has_report else "prepared"
        say(f"{finished.step.name:17} {finished.wall_s:6.0f} s {finished.cpu_s:6.0f} CPU s  {said}")
    failed = [finished.step.name for finished in steps if finished.is_failure]
    if failed:
        say(f"failed: {', '.join(failed)}; logs in {LOGS}")
    else:
        bed.note_success(Path(), reports)
    seconds = int(run.wall_s)
    clock = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    closing = f" {summary(reports)} in {run.wall_s:.2f}s ({clock}) "
    say(closing.center(100, "="))
    return 1 if failed or not steps else 0


def _section(title: str) -> None:
    say(f" {title} ".center(100, "-"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))

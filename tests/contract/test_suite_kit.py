"""The runner of `make test`: what it reports, and what makes it fail."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from suite_kit.lanes import Run, Step
from suite_kit.reports import Case, Report, figures, skips, slowest, summary

PASSES = """
import pytest
def test_passes(record_property):
    record_property("figure", "42 of something")
def test_skips():
    pytest.skip("no such machine")
"""
FAILS = "def test_fails(): assert False, 'because of this'\n"
BREAKS = "raise RuntimeError('at import')\n"


def step(folder: Path, name: str, source: str) -> Step:
    test = folder / f"test_{name}.py"
    test.write_text(source)
    command = (sys.executable, "-m", "pytest", "-q", "--rootdir", str(folder), "-c", "/dev/null", str(test))
    return Step(name, command)


def test_run_reports_all_lanes(tmp_path: Path) -> None:
    said: list[str] = []
    run = Run(tmp_path / "logs", said.append)
    run.run([[step(tmp_path, "one", PASSES)], [step(tmp_path, "two", PASSES)]])
    reports = [finished.report for finished in run.finished]
    assert summary(reports) == "2 passed, 2 skipped"
    assert figures(reports) == ["42 of something"] * 2
    assert {reason: files.total() for reason, files in skips(reports).items()} == {"no such machine": 2}
    assert not any(finished.is_failure for finished in run.finished)


def test_lane_that_is_through_takes_the_rest(tmp_path: Path) -> None:
    done = tmp_path / "done"
    waits = Step("waits", ("sh", "-c", f"while [ ! -e {done} ]; do sleep 0.1; done"), has_report=False)
    first = Step("first", ("true",), has_report=False)
    rest = Step("rest", ("touch", str(done)), has_report=False)
    run = Run(tmp_path / "logs", lambda _: None)
    run.run([[waits], [first]], [rest])
    # The last two end at the same time; had the lane that waits to take the rest, none of them would.
    assert {finished.step.name for finished in run.finished} == {"first", "rest", "waits"}
    assert run.finished[0].step.name == "first"


def test_failing_step_shows_its_whole_log_and_later_steps_run(tmp_path: Path) -> None:
    said: list[str] = []
    run = Run(tmp_path / "logs", said.append)
    run.run([[step(tmp_path, "bad", FAILS), step(tmp_path, "good", PASSES)]])
    assert [finished.is_failure for finished in run.finished] == [True, False]
    assert "because of this" in "\n".join(said)
    assert summary(finished.report for finished in run.finished) == "1 failed, 1 passed, 1 skipped"


def test_step_that_ends_without_a_report_is_an_error(tmp_path: Path) -> None:
    run = Run(tmp_path / "logs", lambda _: None)
    run.run([[Step("crash", (sys.executable, "-c", "import os; os._exit(3)"))]])
    assert run.finished[0].is_failure
    assert summary([run.finished[0].report]) == "1 error"


def test_step_that_cannot_be_collected_is_a_failure(tmp_path: Path) -> None:
    run = Run(tmp_path / "logs", lambda _: None)
    run.run([[step(tmp_path, "broken", BREAKS)]])
    assert run.finished[0].is_failure
    assert summary([run.finished[0].report]) == "1 error"


def test_failed_preparation_is_no_failure_of_a_test(tmp_path: Path) -> None:
    run = Run(tmp_path / "logs", lambda _: None)
    run.run([[Step("tools", (sys.executable, "-c", "raise SystemExit(1)"), has_report=False)]])
    assert not run.finished[0].is_failure


def test_ended_run_interrupts_what_is_at_work(tmp_path: Path) -> None:
    run = Run(tmp_path / "logs", lambda _: None)
    asleep = Step("asleep", ("sh", "-c", "trap 'exit 7' INT; while :; do sleep 0.1; done"), has_report=False)
    lane = threading.Thread(target=run.run, args=([[asleep, step(tmp_path, "never", PASSES)]],))
    lane.start()
    while not (tmp_path / "logs" / "asleep.log").exists():
        time.sleep(0.05)
    while lane.is_alive():
        run.end()
        lane.join(0.2)
    assert [finished.step.name for finished in run.finished] == ["asleep"]


def test_slowest_are_ten_over_all_steps() -> None:
    cases = tuple(Case("f", f"t{n}", float(n), "passed") for n in range(12))
    assert [case.name for case in slowest([Report(cases[:6]), Report(cases[6:])])] == [
        f"t{n}" for n in range(11, 1, -1)
    ]

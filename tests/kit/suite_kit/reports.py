"""What the steps' JUnit reports say: outcomes, times, reasons of skips, and figures that tests noted."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

NO_TESTS_COLLECTED = 5
FIGURE = "figure"
"""Name of the property that tests/conftest.py writes a figure to."""
N_SLOWEST = 10


@dataclass(frozen=True)
class Case:
    """One test. Its time includes that of the fixtures which it was the first to ask for."""

    file: str
    name: str
    time_s: float
    outcome: str
    """As pytest's closing line has it: passed, failed, error, skipped, or empty for a part of a test that is counted."""
    reason: str = ""
    figures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """All tests of a step; none where it ended before it wrote its report."""

    cases: tuple[Case, ...] = ()
    is_missing: bool = False

    @property
    def n_bad(self) -> int:
        return sum(case.outcome in {"failed", "error"} for case in self.cases) + self.is_missing

    def summary(self) -> str:
        return summary([self])


def read(path: Path) -> Report:
    if not path.exists():
        return Report(is_missing=True)
    return Report(tuple(_cases(ET.parse(path).getroot())))


def _cases(root: ET.Element) -> Iterator[Case]:
    for element in root.iter("testcase"):
        found = {child.tag: child for child in element}
        outcome = next((tag for tag in ("error", "failure", "skipped") if tag in found), "passed")
        figures = [
            prop.get("value", "") for prop in element.iterfind("properties/property") if prop.get("name") == FIGURE
        ]
        yield Case(
            element.get("classname", ""),
            element.get("name", ""),
            float(element.get("time", "0")),
            "failed" if outcome == "failure" else outcome,
            found[outcome].get("message", "") if outcome in found else "",
            tuple(figures),
        )


def summary(reports: Iterable[Report]) -> str:
    """As pytest closes: `1 failed, 12 passed, 3 skipped`."""
    reports = list(reports)
    counted = Counter(case.outcome for report in reports for case in report.cases)
    counted["error"] += sum(report.is_missing for report in reports)
    words = {"failed": "failed", "passed": "passed", "skipped": "skipped", "error": "errors"}
    if counted["error"] == 1:
        words["error"] = "error"
    return ", ".join(f"{counted[key]} {word}" for key, word in words.items() if counted[key]) or "no tests ran"


def slowest(reports: Iterable[Report]) -> list[Case]:
    cases = [case for report in reports for case in report.cases]
    return sorted(cases, key=lambda case: -case.time_s)[:N_SLOWEST]


def skips(reports: Iterable[Report]) -> dict[str, Counter[str]]:
    """Reason → how many tests of which file."""
    found: dict[str, Counter[str]] = {}
    for report in reports:
        for case in report.cases:
            if case.outcome == "skipped":
                found.setdefault(case.reason, Counter())[case.file] += 1
    return found


def figures(reports: Iterable[Report]) -> list[str]:
    return [line for report in reports for case in report.cases for line in case.figures]

"""The benchmarks in small: that they run, that nothing fails under them, that memory does not run away."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.on_ctranslate2(because="the benchmarks are of a CPU")
Figure = Callable[[str], None]


@pytest.mark.parametrize(
    ("script", "arguments", "printed"),
    [
        ("load.py", "--clients 2 --seconds 2 --rounds 1", "| 2 s | 2 |"),
        ("side_by_side.py", "--seconds 2 --recordings 2 --rounds 1 --clients 2", "| 2 × "),
        pytest.param(
            *("soak.py", "--requests 80 --first 40 --most-growth 1.3", "memory at 80 requests / at 40"),
            marks=pytest.mark.before_release(
                because="tests/server/http holds the memory of hang-ups and unread answers flat"
            ),
        ),
    ],
)
def test_a_benchmark_in_small(script: str, arguments: str, printed: str, figure: Figure) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "bench" / script, *arguments.split()],
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'demo'}:{ROOT / 'tests' / 'kit'}"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith(printed)]
    assert len(rows) == 1, done.stdout
    figure(f"bench/{script} {arguments}: {rows[0]}")

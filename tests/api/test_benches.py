"""The benchmarks in small: that they run, that nothing fails under them, that memory does not run away."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from server_kit.process import output_of_bench

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
    printed_lines = output_of_bench(script, arguments.split())
    rows = [line for line in printed_lines if line.startswith(printed)]
    assert len(rows) == 1, printed_lines
    figure(f"bench/{script} {arguments}: {rows[0]}")

import time
from typing import Any

import numpy as np
import pytest

from whisper_server.engines.gpu.dtw import token_starts
from whisper_server.whisper.constants import POSITION_S


def plain_path(costs: np.ndarray[Any, Any]) -> list[tuple[int, int]]:
    """openai/whisper's `dtw_cpu` and `backtrace`, cell by cell."""
    n_rows, n_columns = costs.shape
    totals = np.full((n_rows + 1, n_columns + 1), np.inf)
    trace = np.full((n_rows + 1, n_columns + 1), -1)
    totals[0, 0] = 0
    for j in range(1, n_columns + 1):
        for i in range(1, n_rows + 1):
            both, token, position = totals[i - 1, j - 1], totals[i - 1, j], totals[i, j - 1]
            if both < token and both < position:
                best, came_from = both, 0
            elif token < both and token < position:
                best, came_from = token, 1
            else:
                best, came_from = position, 2
            totals[i, j] = costs[i - 1, j - 1] + best
            trace[i, j] = came_from
    trace[0, :] = 2
    trace[:, 0] = 1
    i, j = n_rows, n_columns
    path = []
    while i > 0 or j > 0:
        path.append((i - 1, j - 1))
        i, j = {0: (i - 1, j - 1), 1: (i - 1, j), 2: (i, j - 1)}[int(trace[i, j])]
    return path[::-1]


def plain_starts(attention: np.ndarray[Any, Any]) -> list[float]:
    starts: dict[int, int] = {}
    for row, column in plain_path(-attention.astype(np.float64)):
        starts.setdefault(row, column)
    return [max(0, starts[row]) * POSITION_S for row in range(attention.shape[0])]


@pytest.mark.parametrize(("n_rows", "n_columns"), [(1, 1), (1, 30), (5, 1), (7, 40), (40, 300), (30, 12)])
def test_starts_equal_those_of_openai_whisper(n_rows: int, n_columns: int) -> None:
    attention = np.random.default_rng(n_rows).normal(size=(n_rows, n_columns)).astype(np.float32)
    assert token_starts(attention) == pytest.approx(plain_starts(attention))


def test_path_follows_a_clear_diagonal() -> None:
    attention = np.zeros((10, 100), dtype=np.float32)
    for row in range(10):
        attention[row, row * 10 : row * 10 + 10] = 1.0
    assert token_starts(attention) == pytest.approx([row * 0.2 for row in range(10)], abs=POSITION_S * 1.01)


def test_full_window_takes_milliseconds() -> None:
    attention = np.random.default_rng(0).normal(size=(225, 1500)).astype(np.float32)
    token_starts(attention)
    start_s = time.perf_counter()
    token_starts(attention)
    took_s = time.perf_counter() - start_s
    print(f"DTW of 225 tokens over 30 s: {1000 * took_s:.1f} ms")
    assert took_s < 1

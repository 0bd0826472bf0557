"""The path of dynamic time warping through attention: from tokens to times. Neither torch nor vllm.

The path of openai/whisper's `timing.py` (`dtw_cpu`), found a row at a time instead of a cell at a time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from whisper_server.whisper.constants import POSITION_S


def token_starts(attention: npt.NDArray[np.float32]) -> tuple[float, ...]:
    """For every row of attention (token, position), the seconds at which the path first comes to it."""
    totals = _totals(-attention.astype(np.float64))
    row, column = attention.shape
    starts = [0] * row
    while row > 0 and column > 0:
        starts[row - 1] = column - 1
        both, token, position = totals[row - 1, column - 1], totals[row - 1, column], totals[row, column - 1]
        if both < token and both < position:
            row, column = row - 1, column - 1
        elif token < both and token < position:
            row -= 1
        else:
            column -= 1
    return tuple(start * POSITION_S for start in starts)


def _totals(costs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cost of the cheapest path to every cell, with a row and a column of walls before them.

    Along a row a path may go on from the left: total[j] = cost[j] + min(above[j], total[j - 1]). Less the sum of
    the costs up to there, that is a running minimum.
    """
    n_rows, n_columns = costs.shape
    totals = np.full((n_rows + 1, n_columns + 1), np.inf)
    totals[0, 0] = 0.0
    sums = np.cumsum(costs, axis=1)
    for row in range(n_rows):
        above = np.minimum(totals[row, :-1], totals[row, 1:])
        before = sums[row] - costs[row]
        totals[row + 1, 1:] = sums[row] + np.minimum.accumulate(above - before)
    return totals

"""Dynamic time warping: from the attention between tokens and audio to the tokens' times.

Computes the same path as `dtw_cpu` of openai/whisper's `timing.py`, a row at a time in numpy: 225 tokens over 30 s take
milliseconds, without numba, which openai/whisper compiles for it. Imports neither torch nor vllm.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from whisper_server.whisper.constants import POSITION_S


def token_starts(attention: npt.NDArray[np.float32]) -> tuple[float, ...]:
    """Start of each token in seconds: where the path enters its row of the attention (token, position)."""
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
    """Cost of the cheapest path to every cell, after a first row and column of infinities.

    Within a row, total[j] = cost[j] + min(above[j], total[j - 1]), where `above` is the cheaper of the two cells above.
    Minus the row's cumulative costs, that is a running minimum, which numpy computes at once.
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

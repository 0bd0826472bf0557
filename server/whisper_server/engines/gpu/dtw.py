"""Dynamic time warping: from the attention between tokens and audio to the tokens' times.

Computes the same path as `dtw_cpu` of openai/whisper's `timing.py`. numba compiles it, as there, and lets go of Python's
lock: in numpy it took 4 ms per window, in which the event loop stood still, so that words halved a GPU's speed. Imports
neither torch nor vllm.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from whisper_server.whisper.constants import POSITION_S

_FROM_BOTH, _FROM_TOKEN, _FROM_POSITION = 0, 1, 2


def token_starts(attention: npt.NDArray[np.floating[Any]]) -> tuple[float, ...]:
    """Start of each token in seconds: where the path enters its row of the attention (token, position)."""
    starts = _compiled()(-attention.astype(np.float64))
    return tuple((starts * POSITION_S).tolist())


def warm_up() -> None:
    """Compile, which takes about 2 s of processor time, so that no request waits for it."""
    token_starts(np.zeros((1, 1), np.float32))


@cache
def _compiled() -> Callable[[npt.NDArray[np.float64]], npt.NDArray[np.int64]]:
    import numba  # 140 MiB with what it compiles, of the 4 GiB that a server on a GPU is given

    compiled: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.int64]] = numba.njit(nogil=True)(_first_positions)
    return compiled


def _first_positions(costs: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The cheapest path through the costs (token, position): each token's first position."""
    n_tokens, n_positions = costs.shape
    came_from = np.empty((n_tokens, n_positions), np.uint8)
    above = np.full(n_positions + 1, np.inf)
    above[0] = 0.0
    here = np.empty(n_positions + 1)
    for token in range(n_tokens):
        here[0] = np.inf
        for position in range(n_positions):
            both, from_token, from_position = above[position], above[position + 1], here[position]
            if both < from_token and both < from_position:
                came_from[token, position], cheapest = _FROM_BOTH, both
            elif from_token < both and from_token < from_position:
                came_from[token, position], cheapest = _FROM_TOKEN, from_token
            else:
                came_from[token, position], cheapest = _FROM_POSITION, from_position
            here[position + 1] = costs[token, position] + cheapest
        above, here = here, above
    starts = np.zeros(n_tokens, np.int64)
    token, position = n_tokens - 1, n_positions - 1
    while token >= 0 and position >= 0:
        starts[token] = position
        step = came_from[token, position]
        if step != _FROM_POSITION:
            token -= 1
        if step != _FROM_TOKEN:
            position -= 1
    return starts

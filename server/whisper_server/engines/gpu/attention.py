"""From the alignment heads' scores and the logits of a known text to what word times are made of.

Follows `find_alignment` of openai/whisper's `timing.py`. Runs in an engine's process; `dtw` goes on in the server's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from whisper_server.engines.gpu.pinned_memory import to_device
from whisper_server.whisper.constants import MEDIAN_FILTER_WIDTH


def sharpen(scores: torch.Tensor) -> torch.Tensor:
    """Scores (head, token, position) → attention (token, position): normalized, median-filtered, mean of the heads."""
    weights = scores.float().softmax(-1)
    deviation, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
    weights = (weights - mean) / deviation
    half = MEDIAN_FILTER_WIDTH // 2
    if weights.shape[-1] > half:
        weights = F.pad(weights, (half, half), mode="reflect")
        width = weights.shape[-1] - 2 * half
        weights = _median([weights[..., start : start + width] for start in range(MEDIAN_FILTER_WIDTH)])
    return weights.mean(dim=0)


def _median(values: list[torch.Tensor]) -> torch.Tensor:
    """Of an odd number of tensors, by exchanging neighbours: the first rounds of a bubble sort.

    A GPU's sort would start a block of threads for each 7 numbers.
    """
    for n_unsorted in range(len(values) - 1, len(values) // 2 - 1, -1):
        for at in range(n_unsorted):
            low, high = torch.minimum(values[at], values[at + 1]), torch.maximum(values[at], values[at + 1])
            values[at], values[at + 1] = low, high
    return values[len(values) // 2]


def text_probabilities(logits: torch.Tensor, text_tokens: Sequence[int], endoftext: int) -> torch.Tensor:
    """Probability of each text token (token,) by its logits (token, vocabulary), among the text tokens only."""
    text = to_device(torch.tensor(text_tokens), logits.device).unsqueeze(1)
    return logits.float()[:, :endoftext].softmax(-1).gather(1, text).squeeze(1)

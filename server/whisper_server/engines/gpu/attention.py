"""From the alignment heads' scores and the logits of a known text to what word times are made of.

Follows `find_alignment` of openai/whisper's `timing.py`. Runs in an engine's process; `dtw` goes on in the server's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from whisper_server.whisper.constants import MEDIAN_FILTER_WIDTH


def sharpen(scores: torch.Tensor) -> torch.Tensor:
    """Scores (head, token, position) → attention (token, position): normalized, median-filtered, mean of the heads."""
    weights = scores.float().softmax(-1)
    deviation, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
    weights = (weights - mean) / deviation
    half = MEDIAN_FILTER_WIDTH // 2
    if weights.shape[-1] > half:
        weights = F.pad(weights, (half, half), mode="reflect")
        weights = weights.unfold(-1, MEDIAN_FILTER_WIDTH, 1).sort(dim=-1)[0][..., half]
    return weights.mean(dim=0)


def text_probabilities(logits: torch.Tensor, text_tokens: Sequence[int], endoftext: int) -> tuple[float, ...]:
    """Probability of each text token by its logits (token, vocabulary), among the text tokens only."""
    text = torch.tensor(text_tokens, device=logits.device).unsqueeze(1)
    probabilities = logits.float()[:, :endoftext].softmax(-1).gather(1, text).squeeze(1)
    return tuple(probabilities.tolist())

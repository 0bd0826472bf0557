"""From the alignment heads' scores and the logits of known texts to what word times are made of.

Follows `find_alignment` of openai/whisper's `timing.py`, for several windows at once: window by window, 8 windows took some
500 kernels. Runs in an engine's process.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from whisper_server.whisper.constants import MEDIAN_FILTER_WIDTH


def median_mean(weights: torch.Tensor, n_positions: torch.Tensor) -> torch.Tensor:
    """Weights (window, head, token, position) → (window, token, position): median of MEDIAN_FILTER_WIDTH neighbours, reflected at both
    ends of each window's `n_positions`, mean of the heads.
    """
    position = torch.arange(weights.shape[-1], device=weights.device)
    half, last = MEDIAN_FILTER_WIDTH // 2, n_positions.view(-1, 1, 1, 1) - 1
    near = [(position + shift).abs() for shift in range(-half, half + 1)]
    at = [torch.where(one > last, 2 * last - one, one).clamp_(min=0).expand_as(weights) for one in near]
    filtered = _median([weights.gather(-1, one) for one in at])
    return torch.where(last >= half, filtered, weights).mean(dim=1)


def sharpen(
    scores: torch.Tensor,
    n_tokens: torch.Tensor,
    n_positions: torch.Tensor,
    filtered: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = median_mean,
) -> torch.Tensor:
    """Scores (window, head, token, position) → attention (window, token, position): normalized, median-filtered, mean of the
    heads. `n_tokens` and `n_positions` (window,) are those of each window; values beyond them are undefined.
    """
    token_counts, position_counts = (counts.view(-1, 1, 1, 1) for counts in (n_tokens, n_positions))
    token = torch.arange(scores.shape[-2], device=scores.device).unsqueeze(1)
    position = torch.arange(scores.shape[-1], device=scores.device)
    weights = scores.float().masked_fill(position >= position_counts, -torch.inf).softmax(-1)
    is_token = token < token_counts
    mean = (weights * is_token).sum(-2, keepdim=True) / token_counts
    variance = ((weights - mean).square() * is_token).sum(-2, keepdim=True) / token_counts
    weights = (weights - mean) / variance.sqrt()
    return filtered(weights, n_positions)


def _median(values: list[torch.Tensor]) -> torch.Tensor:
    """Of an odd number of tensors, by exchanging neighbours: the first rounds of a bubble sort.

    A GPU's sort would start a block of threads for each 7 numbers.
    """
    for n_unsorted in range(len(values) - 1, len(values) // 2 - 1, -1):
        for at in range(n_unsorted):
            low, high = torch.minimum(values[at], values[at + 1]), torch.maximum(values[at], values[at + 1])
            values[at], values[at + 1] = low, high
    return values[len(values) // 2]


def text_probabilities(logits: torch.Tensor, text_tokens: torch.Tensor, endoftext: int) -> torch.Tensor:
    """Probability of each text token (token,) by its logits (token, vocabulary), among the text tokens only."""
    return logits[:, :endoftext].float().softmax(-1).gather(1, text_tokens.unsqueeze(1)).squeeze(1)

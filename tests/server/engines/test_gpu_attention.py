"""The attention of several windows at once against openai/whisper's steps, one window at a time."""

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import median_filter
from scipy.special import softmax

torch: Any = pytest.importorskip("torch", reason="torch is not installed: it comes with whisper-server[torch]")

from whisper_server.engines.gpu.attention import sharpen, text_probabilities  # noqa: E402 - torch decides

N_TOKENS, N_POSITIONS = (9, 30, 5), (200, 3, 41)
"""Of three windows; three positions are too few for the median filter."""


def of_one_window(scores: Any) -> Any:
    """`find_alignment` of openai/whisper's `timing.py` on (head, token, position)."""
    weights = softmax(scores, axis=-1)
    weights = (weights - weights.mean(-2, keepdims=True)) / weights.std(-2, keepdims=True)
    if weights.shape[-1] > 3:
        weights = median_filter(weights, (1, 1, 7), mode="mirror")
    return weights.mean(0)


def test_windows_of_different_lengths_are_sharpened_as_if_alone() -> None:
    scores = np.random.default_rng(0).normal(size=(3, 4, max(N_TOKENS), max(N_POSITIONS)))
    together = sharpen(torch.from_numpy(scores), torch.tensor(N_TOKENS), torch.tensor(N_POSITIONS)).numpy()
    for index, (n_tokens, n_positions) in enumerate(zip(N_TOKENS, N_POSITIONS, strict=True)):
        alone = of_one_window(scores[index, :, :n_tokens, :n_positions])
        assert together[index, :n_tokens, :n_positions] == pytest.approx(alone, abs=2e-4)


def test_probabilities_are_among_the_text_tokens_only() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0, 9.0], [0.0, 0.0, 0.0, 9.0]])
    found = text_probabilities(logits, torch.tensor([1, 2]), endoftext=3)
    assert found.tolist() == pytest.approx([np.exp(3) / (np.exp(1) + np.exp(3) + np.exp(2)), 1 / 3])

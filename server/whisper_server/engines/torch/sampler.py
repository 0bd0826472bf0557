"""Chooses the next token of every row under Whisper's rules, on the device.

The rules' arithmetic is `token_rules`' (`SuppressBlank`, `SuppressTokens`, `ApplyTimestampRules` of openai/whisper's
`decoding.py`). Nothing is read back here.
"""

from __future__ import annotations

import torch

from whisper_server.engines.gpu.model_facts import Vocabulary
from whisper_server.engines.gpu.token_rules import N_COLUMNS, Step, VocabularyRanges, advance, step_overwriting


class Sampler:
    """The rules' state of `n_rows` rows."""

    def __init__(self, vocabulary: Vocabulary, n_rows: int, device: torch.device) -> None:
        self._ranges = VocabularyRanges.of(vocabulary, device)
        self._state = torch.zeros((n_rows, N_COLUMNS), dtype=torch.int64, device=device)
        self._temperature = torch.zeros(n_rows, dtype=torch.float32, device=device)

    @property
    def state(self) -> tuple[torch.Tensor, ...]:
        """What `choose` changes."""
        return (self._state,)

    def begin(self, rows: torch.Tensor, timestamps: torch.Tensor, temperature: torch.Tensor) -> None:
        """Texts begin in `rows`: int64 (row,), whether timestamps are asked for, and the temperature of each."""
        fresh = torch.zeros((len(rows), N_COLUMNS), dtype=torch.int64, device=rows.device)
        fresh[:, 1] = timestamps
        fresh[:, 3] = 1  # there is no token before the first
        fresh[:, 4] = -1
        self._state[rows] = fresh
        self._temperature[rows] = temperature

    def choose(self, logits: torch.Tensor, rows: torch.Tensor, *, sample: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (row, token) of `rows` → tokens and their log-probabilities at temperature 1, after the rules.

        Overwrites the logits of suppressed tokens. With `sample`, rows whose temperature is above 0 draw their token at random.
        """
        state = self._state[rows]
        chosen = step_overwriting(logits, state, self._ranges)
        if sample:
            chosen = self._sampled(chosen, logits, state, self._temperature[rows])
        self._state[rows] = advance(state, chosen.tokens, self._ranges)
        return chosen.tokens, chosen.logprobs

    def _sampled(self, greedy: Step, logits: torch.Tensor, state: torch.Tensor, temperature: torch.Tensor) -> Step:
        allowed = self._ranges.mask(logits.float(), state, greedy.allowed)
        minus_gumbel = torch.empty_like(allowed).exponential_().log_()
        drawn = (allowed / temperature.clamp(min=1e-6).unsqueeze(1) - minus_gumbel).argmax(-1)
        logprobs = allowed.gather(1, drawn.unsqueeze(1)).squeeze(1) - allowed.logsumexp(-1)
        is_hot = temperature > 0
        return Step(
            torch.where(is_hot, drawn, greedy.tokens), torch.where(is_hot, logprobs, greedy.logprobs), greedy.allowed
        )

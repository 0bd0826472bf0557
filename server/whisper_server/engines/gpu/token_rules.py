"""Whisper's decoding rules as arithmetic on tensors: one step for all rows at once, which can be compiled.

Follows `SuppressBlank`, `SuppressTokens` and `ApplyTimestampRules` of openai/whisper's `decoding.py`. The tokens allowed
in a row are unions of three contiguous id ranges: text, special tokens and timestamps. Maximum and logsumexp are computed
once per range and combined per row, so no mask of the vocabulary's size is needed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from whisper_server.engines.gpu.model_facts import Vocabulary
from whisper_server.whisper.constants import MAX_INITIAL_TIMESTAMP_INDEX

MINUS_INF = float("-inf")
N_COLUMNS = 5
"""Of a row's state: number of tokens so far, whether timestamps are requested, whether the last token was a timestamp,
whether the one before it was (1 as well where there was none), the latest timestamp's index or -1."""


class VocabularyRanges(NamedTuple):
    """The three ranges of token ids, and what is added to the logits of suppressed tokens."""

    text_end: int
    """End of the text tokens: `<|endoftext|>`, the first special token."""
    timestamp_begin: int
    n_timestamps: int
    suppressed: torch.Tensor
    """Per token: minus infinity where it is never allowed, else 0."""
    suppressed_first: torch.Tensor
    """The same for the first token of an output."""
    suppressed_with_timestamps: torch.Tensor
    """The same where timestamps are requested."""

    @classmethod
    def of(cls, vocabulary: Vocabulary, device: torch.device) -> VocabularyRanges:
        def excluding(*tokens: int) -> torch.Tensor:
            weights = torch.zeros(vocabulary.n_tokens)
            weights[[token for token in tokens if token >= 0]] = MINUS_INF
            return weights.to(device)

        return cls(
            vocabulary.endoftext,
            vocabulary.timestamp_begin,
            vocabulary.n_tokens - vocabulary.timestamp_begin,
            excluding(*vocabulary.suppressed, vocabulary.startoftranscript),
            excluding(*vocabulary.suppressed_first),
            excluding(vocabulary.notimestamps),
        )

    def suppress(self, logits: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """Logits (row, token) with minus infinity at the tokens that are suppressed in their row."""
        is_first, timed = (state[:, 0] == 0).unsqueeze(1), (state[:, 1] > 0).unsqueeze(1)
        first = torch.where(is_first, self.suppressed_first, 0.0)
        return logits + self.suppressed + first + torch.where(timed, self.suppressed_with_timestamps, 0.0)

    def mask(self, logits: torch.Tensor, state: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        """Logits (row, token) with minus infinity at all tokens that the row may not have; `allowed` as in Step."""
        text, special, first_time, end_time = allowed.unbind(1)
        index = torch.arange(logits.shape[1], device=logits.device)
        in_text = (index < self.text_end) & (text > 0).unsqueeze(1)
        in_special = (index >= self.text_end) & (index < self.timestamp_begin) & (special > 0).unsqueeze(1)
        time = index - self.timestamp_begin
        in_times = (time >= 0) & (time >= first_time.unsqueeze(1)) & (time < end_time.unsqueeze(1))
        return self.suppress(logits, state).masked_fill(~(in_text | in_special | in_times), MINUS_INF)


class Step(NamedTuple):
    """Result of a step, one entry per row."""

    tokens: torch.Tensor
    logprobs: torch.Tensor
    allowed: torch.Tensor
    """(row, 4): whether text is allowed, whether special tokens are, first allowed timestamp, end of the timestamps."""


def step(logits: torch.Tensor, state: torch.Tensor, ranges: VocabularyRanges) -> Step:
    """The most likely token that the rules allow in each row. Logits are (row, token), the state (row, N_COLUMNS)."""
    text_end, timestamp_begin = ranges.text_end, ranges.timestamp_begin
    n_tokens, timed_column, last, before, latest = state.unbind(1)
    timed, is_first = timed_column > 0, n_tokens == 0
    opened, closed = timed & (last > 0) & (before == 0), timed & (last > 0) & (before > 0)
    # The second timestamp of a pair may repeat the first; any other is later than all before it.
    first_time = torch.where(timed, torch.where(opened, latest, latest + 1), 0)
    first_time = torch.where(closed, ranges.n_timestamps, first_time)
    max_initial = min(MAX_INITIAL_TIMESTAMP_INDEX + 1, ranges.n_timestamps)
    end_time = torch.where(timed & is_first, max_initial, ranges.n_timestamps)
    may_text, may_special = ~((timed & is_first) | opened), ~(timed & is_first)

    kept = ranges.suppress(logits.float(), state)
    index = torch.arange(ranges.n_timestamps, device=logits.device)
    in_times = (index >= first_time.unsqueeze(1)) & (index < end_time.unsqueeze(1))
    parts = (
        kept[:, :text_end],
        kept[:, text_end:timestamp_begin],
        kept[:, timestamp_begin:].masked_fill(~in_times, MINUS_INF),
    )
    maxima, places = zip(*(part.max(-1) for part in parts), strict=True)
    sums = [part.logsumexp(-1) for part in parts]
    max_text, sum_text = torch.where(may_text, maxima[0], MINUS_INF), torch.where(may_text, sums[0], MINUS_INF)
    max_special = torch.where(may_special, maxima[1], MINUS_INF)
    sum_special = torch.where(may_special, sums[1], MINUS_INF)
    # Where timestamps together are more likely than any other token, the token must be a timestamp.
    is_time = timed & (sums[2] > torch.maximum(max_text, max_special))
    excluded = torch.stack((is_time, is_time, torch.zeros_like(is_time)))
    all_maxima = torch.stack((max_text, max_special, maxima[2])).masked_fill(excluded, MINUS_INF)
    all_sums = torch.stack((sum_text, sum_special, sums[2])).masked_fill(excluded, MINUS_INF)
    best, best_range = all_maxima.max(0)
    ids = torch.stack((places[0], places[1] + text_end, places[2] + timestamp_begin))
    tokens = ids.gather(0, best_range.unsqueeze(0)).squeeze(0)
    allowed = torch.stack((may_text & ~is_time, may_special & ~is_time, first_time, end_time), dim=1)
    return Step(tokens, best - all_sums.logsumexp(0), allowed)


def advance(state: torch.Tensor, tokens: torch.Tensor, ranges: VocabularyRanges) -> torch.Tensor:
    """The state (row, N_COLUMNS) after these tokens, one per row."""
    n_tokens, timed, last, _, latest = state.unbind(1)
    time = tokens - ranges.timestamp_begin
    is_time = time >= 0
    before = torch.where(n_tokens == 0, 1, last)
    return torch.stack(
        (n_tokens + 1, timed, is_time.to(state.dtype), before, torch.where(is_time, time, latest)), dim=1
    )


def step_in_place(
    logits: torch.Tensor, state: torch.Tensor, device_slots: torch.Tensor, ranges: VocabularyRanges
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and log-probabilities for the rows of `state` that `device_slots` names; advances these rows."""
    rows = state[device_slots]
    result = step(logits, rows, ranges)
    state[device_slots] = advance(rows, result.tokens, ranges)
    return result.tokens, result.logprobs

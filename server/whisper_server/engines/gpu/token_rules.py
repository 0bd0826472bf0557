"""Whisper's decoding rules as arithmetic on tensors: one step for all rows at once, which can be compiled.

Follows `SuppressBlank`, `SuppressTokens` and `ApplyTimestampRules` of openai/whisper's `decoding.py`. The tokens allowed
in a row are unions of three contiguous id ranges: text, special tokens and timestamps. Maximum and logsumexp are computed
once per range and combined per row, so no mask of the vocabulary's size is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    never: torch.Tensor
    """Ids of the tokens that are never allowed; `sometimes` are not allowed as the first token or with timestamps."""
    sometimes: torch.Tensor
    is_only_first: torch.Tensor
    """Per id in `sometimes`: whether it is not allowed as the first token; else, where timestamps are requested."""

    @classmethod
    def of(cls, vocabulary: Vocabulary, device: torch.device) -> VocabularyRanges:
        def excluding(tokens: Sequence[int]) -> torch.Tensor:
            weights = torch.zeros(vocabulary.n_tokens)
            weights[list(tokens)] = MINUS_INF
            return weights.to(device)

        never = [token for token in (*vocabulary.suppressed, vocabulary.startoftranscript) if token >= 0]
        first = [token for token in vocabulary.suppressed_first if token >= 0]
        return cls(
            vocabulary.endoftext,
            vocabulary.timestamp_begin,
            vocabulary.n_tokens - vocabulary.timestamp_begin,
            excluding(never),
            excluding(first),
            excluding([vocabulary.notimestamps]),
            never=torch.tensor(never, device=device),
            sometimes=torch.tensor([*first, vocabulary.notimestamps], device=device),
            is_only_first=torch.tensor([True] * len(first) + [False], device=device),
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


class _Limits(NamedTuple):
    """What the rules say of the next token, one entry per row."""

    timed: torch.Tensor
    is_first: torch.Tensor
    may_text: torch.Tensor
    may_special: torch.Tensor
    first_time: torch.Tensor
    end_time: torch.Tensor

    @classmethod
    def of(cls, state: torch.Tensor, ranges: VocabularyRanges) -> _Limits:
        n_tokens, timed_column, last, before, latest = state.unbind(1)
        timed, is_first = timed_column > 0, n_tokens == 0
        opened, closed = timed & (last > 0) & (before == 0), timed & (last > 0) & (before > 0)
        # The second timestamp of a pair may repeat the first; any other is later than all before it.
        first_time = torch.where(timed, torch.where(opened, latest, latest + 1), 0)
        first_time = torch.where(closed, ranges.n_timestamps, first_time)
        max_initial = min(MAX_INITIAL_TIMESTAMP_INDEX + 1, ranges.n_timestamps)
        end_time = torch.where(timed & is_first, max_initial, ranges.n_timestamps)
        return cls(timed, is_first, ~((timed & is_first) | opened), ~(timed & is_first), first_time, end_time)

    def times(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits of the timestamps (row, timestamp) with minus infinity at those that are not allowed."""
        index = torch.arange(logits.shape[1], device=logits.device)
        in_times = (index >= self.first_time.unsqueeze(1)) & (index < self.end_time.unsqueeze(1))
        return logits.masked_fill(~in_times, MINUS_INF)


class _Best(NamedTuple):
    """Of one range, per row: the largest logit, its place in the range, and the logsumexp."""

    maximum: torch.Tensor
    place: torch.Tensor
    total: torch.Tensor

    @classmethod
    def of(cls, logits: torch.Tensor) -> _Best:
        maximum, place = logits.max(-1)
        return cls(maximum, place, logits.logsumexp(-1))


def step(logits: torch.Tensor, state: torch.Tensor, ranges: VocabularyRanges) -> Step:
    """The most likely token that the rules allow in each row. Logits are (row, token), the state (row, N_COLUMNS)."""
    limits, kept = _Limits.of(state, ranges), ranges.suppress(logits.float(), state)
    text, special = kept[:, : ranges.text_end], kept[:, ranges.text_end : ranges.timestamp_begin]
    times = limits.times(kept[:, ranges.timestamp_begin :])
    return _chosen(limits, _Best.of(text), _Best.of(special), _Best.of(times), ranges)


def step_overwriting(logits: torch.Tensor, state: torch.Tensor, ranges: VocabularyRanges) -> Step:
    """The same as `step` for code that is not compiled; logits of suppressed tokens become minus infinity.

    It passes 4 times over the logits of all text tokens where `step` passes 15 times: 0.15 instead of 1.05 ms for 512 rows
    on an H200.
    """
    limits = _Limits.of(state, ranges)
    logits.index_fill_(1, ranges.never, MINUS_INF)
    is_out = torch.where(ranges.is_only_first, limits.is_first.unsqueeze(1), limits.timed.unsqueeze(1))
    at_times = logits.index_select(1, ranges.sometimes).masked_fill(is_out, MINUS_INF)
    logits.index_copy_(1, ranges.sometimes, at_times)
    maximum, place = logits[:, : ranges.text_end].max(-1)
    maximum = maximum.float()
    # A copy in float32, too: the sampler draws from the logits afterwards.
    weights = logits[:, : ranges.text_end].to(torch.float32, copy=True).sub_(maximum.unsqueeze(1)).exp_()
    text = _Best(maximum, place, weights.sum(-1).log() + maximum)
    special = _Best.of(logits[:, ranges.text_end : ranges.timestamp_begin].float())
    times = _Best.of(limits.times(logits[:, ranges.timestamp_begin :].float()))
    return _chosen(limits, text, special, times, ranges)


def _chosen(limits: _Limits, text: _Best, special: _Best, times: _Best, ranges: VocabularyRanges) -> Step:
    max_text = torch.where(limits.may_text, text.maximum, MINUS_INF)
    sum_text = torch.where(limits.may_text, text.total, MINUS_INF)
    max_special = torch.where(limits.may_special, special.maximum, MINUS_INF)
    sum_special = torch.where(limits.may_special, special.total, MINUS_INF)
    # Where timestamps together are more likely than any other token, the token must be a timestamp.
    is_time = limits.timed & (times.total > torch.maximum(max_text, max_special))
    excluded = torch.stack((is_time, is_time, torch.zeros_like(is_time)))
    all_maxima = torch.stack((max_text, max_special, times.maximum)).masked_fill(excluded, MINUS_INF)
    all_sums = torch.stack((sum_text, sum_special, times.total)).masked_fill(excluded, MINUS_INF)
    best, best_range = all_maxima.max(0)
    ids = torch.stack((text.place, special.place + ranges.text_end, times.place + ranges.timestamp_begin))
    tokens = ids.gather(0, best_range.unsqueeze(0)).squeeze(0)
    may_text, may_special = limits.may_text & ~is_time, limits.may_special & ~is_time
    allowed = torch.stack((may_text, may_special, limits.first_time, limits.end_time), dim=1)
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

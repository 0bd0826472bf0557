"""The arithmetic of Whisper's rules: a step for all rows at once, of tensors only, so that it can be compiled.

What a row may choose is made of three ranges of the vocabulary: text, special tokens and timestamps. Maxima and
sums of the ranges are taken once for all rows and put together per row; no mask of the vocabulary's size is made.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from whisper_server.engines.vllm.wire import Vocabulary
from whisper_server.whisper.constants import MAX_INITIAL_TIMESTAMP_INDEX

MINUS_INF = float("-inf")
N_COLUMNS = 5
"""Of a row's state: tokens so far, whether timestamps are asked for, whether the last token was one, whether the one
before it was (or there was none), the latest timestamp or -1."""


class VocabularyRanges(NamedTuple):
    """The vocabulary, cut up."""

    end: int
    """Where text ends: `<|endoftext|>`."""
    begin: int
    """Where timestamps begin."""
    n_timestamps: int
    always: torch.Tensor
    """Minus infinity where a token is suppressed, else 0."""
    suppressed_first: torch.Tensor
    """The same for the first token of a text."""
    suppressed_with_timestamps: torch.Tensor
    """The same where timestamps are asked for."""

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
        """Logits less what is suppressed in their rows."""
        begins, timed = (state[:, 0] == 0).unsqueeze(1), (state[:, 1] > 0).unsqueeze(1)
        first = torch.where(begins, self.suppressed_first, 0.0)
        return logits + self.always + first + torch.where(timed, self.suppressed_with_timestamps, 0.0)

    def mask(self, logits: torch.Tensor, state: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        """Logits less all that the rows may not choose."""
        text, special, low, high = allowed.unbind(1)
        index = torch.arange(logits.shape[1], device=logits.device)
        in_text = (index < self.end) & (text > 0).unsqueeze(1)
        in_special = (index >= self.end) & (index < self.begin) & (special > 0).unsqueeze(1)
        time = index - self.begin
        in_times = (time >= 0) & (time >= low.unsqueeze(1)) & (time < high.unsqueeze(1))
        return self.suppress(logits, state).masked_fill(~(in_text | in_special | in_times), MINUS_INF)


class Step(NamedTuple):
    """What a step comes to."""

    tokens: torch.Tensor
    logprobs: torch.Tensor
    allowed: torch.Tensor
    """A row each: text or not, special tokens or not, first timestamp, end of the timestamps."""


def step(logits: torch.Tensor, state: torch.Tensor, ranges: VocabularyRanges) -> Step:
    """The likeliest token that each row may choose."""
    end, begin = ranges.end, ranges.begin
    n_tokens, timed_column, last, before, latest = state.unbind(1)
    timed, begins = timed_column > 0, n_tokens == 0
    opened, closed = timed & (last > 0) & (before == 0), timed & (last > 0) & (before > 0)
    # The second of a pair may be the first again; anything else is later than all before it.
    low = torch.where(timed, torch.where(opened, latest, latest + 1), 0)
    low = torch.where(closed, ranges.n_timestamps, low)
    limit = min(MAX_INITIAL_TIMESTAMP_INDEX + 1, ranges.n_timestamps)
    high = torch.where(timed & begins, limit, ranges.n_timestamps)
    may_text, may_special = ~((timed & begins) | opened), ~(timed & begins)

    left = ranges.suppress(logits.float(), state)
    index = torch.arange(ranges.n_timestamps, device=logits.device)
    inside = (index >= low.unsqueeze(1)) & (index < high.unsqueeze(1))
    parts = (left[:, :end], left[:, end:begin], left[:, begin:].masked_fill(~inside, MINUS_INF))
    highs, places = zip(*(part.max(-1) for part in parts), strict=True)
    sums = [part.logsumexp(-1) for part in parts]
    high_text, sum_text = torch.where(may_text, highs[0], MINUS_INF), torch.where(may_text, sums[0], MINUS_INF)
    high_special, sum_special = (
        torch.where(may_special, highs[1], MINUS_INF),
        torch.where(may_special, sums[1], MINUS_INF),
    )
    # More likely than any single word: a time it is.
    is_time = timed & (sums[2] > torch.maximum(high_text, high_special))
    outside = torch.stack((is_time, is_time, torch.zeros_like(is_time)))
    all_highs = torch.stack((high_text, high_special, highs[2])).masked_fill(outside, MINUS_INF)
    all_sums = torch.stack((sum_text, sum_special, sums[2])).masked_fill(outside, MINUS_INF)
    best, best_range = all_highs.max(0)
    tokens = torch.stack((places[0], places[1] + end, places[2] + begin)).gather(0, best_range.unsqueeze(0)).squeeze(0)
    allowed = torch.stack((may_text & ~is_time, may_special & ~is_time, low, high), dim=1)
    return Step(tokens, best - all_sums.logsumexp(0), allowed)


def advance(state: torch.Tensor, tokens: torch.Tensor, ranges: VocabularyRanges) -> torch.Tensor:
    """The state once `tokens` are chosen."""
    n_tokens, timed, last, _, latest = state.unbind(1)
    time = tokens - ranges.begin
    is_time = time >= 0
    before = torch.where(n_tokens == 0, 1, last)
    return torch.stack(
        (n_tokens + 1, timed, is_time.to(state.dtype), before, torch.where(is_time, time, latest)), dim=1
    )


def step_in_place(
    logits: torch.Tensor, state: torch.Tensor, device_slots: torch.Tensor, ranges: VocabularyRanges
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose for the rows of `state` that `device_slots` names, and note it there: tokens and their log-probabilities."""
    rows = state[device_slots]
    chosen = step(logits, rows, ranges)
    state[device_slots] = advance(rows, chosen.tokens, ranges)
    return chosen.tokens, chosen.logprobs

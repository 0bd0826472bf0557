"""WhisperSampler against a plain version of openai/whisper's rules, on random histories and logits."""

import math
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: it comes with whisper-server[vllm]")

from whisper_server.engines.gpu.model_facts import Vocabulary  # noqa: E402 - torch decides
from whisper_server.engines.gpu.token_rules import (  # noqa: E402
    N_COLUMNS,
    VocabularyRanges,
    advance,
    step,
    step_overwriting,
)
from whisper_server.engines.torch.sampler import Sampler  # noqa: E402
from whisper_server.engines.vllm.wire import WhisperParams  # noqa: E402
from whisper_server.engines.vllm.worker.sampler import WhisperSampler  # noqa: E402

END, SOT, NOSPEECH, NOTIMESTAMPS = 60, 61, 70, 71
VOCABULARY = Vocabulary(
    n_tokens=72 + 101,
    endoftext=END,
    notimestamps=NOTIMESTAMPS,
    nospeech=NOSPEECH,
    suppressed=(3, 7, NOSPEECH),
    suppressed_first=(5, END),
    startoftranscript=SOT,
    languages=(62, 63, 64),
)
BEGIN = VOCABULARY.timestamp_begin


def reference(logits: np.ndarray[Any, Any], tokens: list[int], *, timed: bool) -> np.ndarray[Any, Any]:
    """Log-probabilities after openai/whisper's SuppressBlank, SuppressTokens and ApplyTimestampRules."""
    logits = logits.astype(np.float64).copy()
    if not tokens:
        logits[list(VOCABULARY.suppressed_first)] = -np.inf
    logits[[*VOCABULARY.suppressed, SOT]] = -np.inf
    if timed:
        logits[NOTIMESTAMPS] = -np.inf
        last_was_time = len(tokens) >= 1 and tokens[-1] >= BEGIN
        penultimate_was_time = len(tokens) < 2 or tokens[-2] >= BEGIN
        if last_was_time:
            if penultimate_was_time:
                logits[BEGIN:] = -np.inf
            else:
                logits[:END] = -np.inf
        times = [token for token in tokens if token >= BEGIN]
        if times:
            last = times[-1] if last_was_time and not penultimate_was_time else times[-1] + 1
            logits[BEGIN:last] = -np.inf
        if not tokens:
            logits[:BEGIN] = -np.inf
            logits[BEGIN + 51 :] = -np.inf
        if log_sum(logits[BEGIN:]) > logits[:BEGIN].max():
            logits[:BEGIN] = -np.inf
    normal: np.ndarray[Any, Any] = logits - log_sum(logits)
    return normal


def log_sum(values: np.ndarray[Any, Any]) -> float:
    high = values.max()
    return float(high + math.log(np.exp(values - high).sum())) if np.isfinite(high) else -math.inf


def test_greedy_tokens_are_those_of_openai_whisper() -> None:
    random = np.random.default_rng(0)
    n_rows, n_steps = 48, 24
    sampler = WhisperSampler(VOCABULARY, n_rows, torch.device("cpu"))
    all_params = [WhisperParams(n_task_tokens=4, timestamps=bool(row % 3)) for row in range(n_rows)]
    for row, params in enumerate(all_params):
        sampler.load(row, params)
    tokens: list[list[int]] = [[] for _ in all_params]
    n_times = 0
    for _ in range(n_steps):
        order = random.permutation(n_rows)
        logits = random.normal(scale=3, size=(n_rows, VOCABULARY.n_tokens)).astype(np.float32)
        logits[:, BEGIN:] -= random.choice([0, 2, 6], size=(n_rows, 1))
        sampled = sampler.sample(torch.from_numpy(logits.copy()), order)
        for place, row in enumerate(order.tolist()):
            params, chosen = all_params[row], int(sampled.tokens[place])
            expected = reference(logits[place], tokens[row], timed=params.timestamps)
            assert chosen == int(expected.argmax())
            assert float(sampled.logprobs[place]) == pytest.approx(float(expected.max()), abs=1e-4)
            n_times += chosen >= BEGIN
            tokens[row].append(chosen)
    assert n_times > 100


def test_preempted_request_resumes_with_the_same_tokens() -> None:
    random = np.random.default_rng(1)
    for n_before in range(12):
        going, resumed = (WhisperSampler(VOCABULARY, 2, torch.device("cpu")) for _ in range(2))
        params, row = WhisperParams(n_task_tokens=4, timestamps=True), np.array([1])
        going.load(1, params)
        tokens: list[int] = []
        for _ in range(n_before):
            logits = torch.from_numpy(random.normal(scale=3, size=(1, VOCABULARY.n_tokens)).astype(np.float32))
            tokens.append(int(going.sample(logits, row).tokens[0]))
        resumed.load(1, params, tokens)
        for _ in range(6):
            logits = torch.from_numpy(random.normal(scale=3, size=(1, VOCABULARY.n_tokens)).astype(np.float32))
            ours, theirs = (sampler.sample(logits.clone(), row) for sampler in (going, resumed))
            assert int(ours.tokens[0]) == int(theirs.tokens[0])


def test_first_rows_are_those_of_new_requests_of_ours() -> None:
    sampler = WhisperSampler(VOCABULARY, 5, torch.device("cpu"))
    sampler.load(0, WhisperParams(n_task_tokens=4))
    sampler.load(1, WhisperParams(n_task_tokens=1, detects_language=True))
    sampler.load(2, WhisperParams(n_task_tokens=4, timestamps=True), [BEGIN, 9])
    sampler.load(4, WhisperParams())
    slots = np.array([4, 1, 2, 0])
    sampled = sampler.sample(torch.randn(4, VOCABULARY.n_tokens), slots)
    assert sampled.first_rows.tolist() == [1, 3]
    assert sampled.detecting_rows.tolist() == [1]
    assert not sampler.sample(torch.randn(4, VOCABULARY.n_tokens), slots).first_rows.size


def test_drawn_tokens_follow_temperature_and_rules() -> None:
    sampler = WhisperSampler(VOCABULARY, 3000, torch.device("cpu"))
    row = np.random.default_rng(2).normal(scale=2, size=VOCABULARY.n_tokens).astype(np.float32)
    slots = np.arange(3000)
    for slot in range(3000):
        sampler.load(slot, WhisperParams(temperature=0.5 if slot else 0.0))
    sampled = sampler.sample(torch.from_numpy(np.tile(row, (3000, 1))), slots)
    logprobs = reference(row, [], timed=False)
    assert int(sampled.tokens[0]) == int(logprobs.argmax())
    weights = np.exp((logprobs - logprobs.max()) / 0.5)
    expected = weights / weights.sum()
    drawn = np.bincount(sampled.tokens[1:].numpy(), minlength=VOCABULARY.n_tokens) / 2999
    assert np.abs(drawn - expected).max() < 0.03
    assert not drawn[[*VOCABULARY.suppressed, *VOCABULARY.suppressed_first, SOT]].any()
    for token, logprob in zip(sampled.tokens.tolist(), sampled.logprobs.tolist(), strict=True):
        assert logprob == pytest.approx(logprobs[token], abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_torch_engine_draws_by_temperature_and_rules(dtype: Any) -> None:
    """In float32 it once drew from what the greedy step had left of the logits: texts ended after a token."""
    sampler = Sampler(VOCABULARY, 3000, torch.device("cpu"))
    rows = torch.arange(3000)
    sampler.begin(rows, torch.zeros(3000, dtype=torch.int64), torch.full((3000,), 0.5))
    row = torch.from_numpy(np.random.default_rng(2).normal(scale=2, size=VOCABULARY.n_tokens)).to(dtype)
    tokens, logprobs = sampler.choose(row.repeat(3000, 1), rows, sample=True)
    expected = reference(row.float().numpy(), [], timed=False)
    weights = np.exp((expected - expected.max()) / 0.5)
    drawn = np.bincount(tokens.numpy(), minlength=VOCABULARY.n_tokens) / 3000
    assert np.abs(drawn - weights / weights.sum()).max() < 0.03
    for token, logprob in zip(tokens.tolist(), logprobs.tolist(), strict=True):
        assert logprob == pytest.approx(expected[token], abs=1e-4)


def test_drawn_tokens_keep_the_timestamp_rules() -> None:
    sampler = WhisperSampler(VOCABULARY, 200, torch.device("cpu"))
    slots = np.arange(200)
    for slot in range(200):
        sampler.load(slot, WhisperParams(temperature=1.0, timestamps=True))
    tokens: list[list[int]] = [[] for _ in slots]
    for _ in range(8):
        logits = np.random.default_rng(3).normal(size=(200, VOCABULARY.n_tokens)).astype(np.float32)
        sampled = sampler.sample(torch.from_numpy(logits.copy()), slots)
        for slot in slots.tolist():
            allowed = reference(logits[slot], tokens[slot], timed=True)
            assert np.isfinite(allowed[int(sampled.tokens[slot])])
            tokens[slot].append(int(sampled.tokens[slot]))


def test_step_that_overwrites_the_logits_gives_the_same() -> None:
    """The torch engine's, in fewer passes: on every state of the rules, a step of its own."""
    random = torch.Generator().manual_seed(0)
    ranges = VocabularyRanges.of(VOCABULARY, torch.device("cpu"))
    state = torch.zeros((64, N_COLUMNS), dtype=torch.int64)
    state[:, 1] = torch.arange(64) % 2
    state[:, 3], state[:, 4] = 1, -1
    for _ in range(12):
        logits = torch.randn((64, VOCABULARY.n_tokens), generator=random) * 3
        logits[::3, BEGIN:] += 3
        expected = step(logits.clone(), state, ranges)
        found = step_overwriting(logits, state, ranges)
        assert torch.equal(found.tokens, expected.tokens)
        assert torch.equal(found.allowed, expected.allowed)
        assert torch.allclose(found.logprobs, expected.logprobs, atol=1e-5)
        state = advance(state, found.tokens, ranges)

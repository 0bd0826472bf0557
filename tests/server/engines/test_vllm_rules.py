"""The rules on whole tensors against openai/whisper's, written out plainly, on random histories and logits."""

import math
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed: it comes with whisper-server[vllm]")

from whisper_server.engines.vllm.plans import N_CLOSING, Plan, Vocabulary, spelled_out  # noqa: E402 - torch decides
from whisper_server.engines.vllm.rules import Rules  # noqa: E402

END, SOT, NOSPEECH, NOTIMESTAMPS = 60, 61, 70, 71
VOCABULARY = Vocabulary(
    n_tokens=72 + 101,
    endoftext=END,
    notimestamps=NOTIMESTAMPS,
    nospeech=NOSPEECH,
    suppressed=(3, 7, SOT, NOSPEECH),
    suppressed_first=(5, END),
    stop=SOT,
    languages=(62, 63, 64),
)
BEGIN = VOCABULARY.timestamp_begin


def reference(logits: np.ndarray[Any, Any], tokens: list[int], *, timed: bool) -> np.ndarray[Any, Any]:
    """Log-probabilities after openai/whisper's SuppressBlank, SuppressTokens and ApplyTimestampRules."""
    logits = logits.astype(np.float64).copy()
    if not tokens:
        logits[list(VOCABULARY.suppressed_first)] = -np.inf
    logits[list(VOCABULARY.suppressed)] = -np.inf
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


def test_greedy_choices_are_those_of_openai_whisper_over_whole_histories() -> None:
    random = np.random.default_rng(0)
    n_rows, n_steps = 48, 24
    rules = Rules(VOCABULARY, n_rows, torch.device("cpu"))
    plans = [
        Plan(
            forced=tuple(random.integers(62, 68, size=random.integers(0, 4)).tolist()),
            timestamps=bool(row % 3),
        )
        for row in range(n_rows)
    ]
    for row, plan in enumerate(plans):
        rules.load(row, plan)
    tokens: list[list[int]] = [[] for _ in plans]
    n_times = 0
    for _ in range(n_steps):
        order = random.permutation(n_rows)
        logits = random.normal(scale=3, size=(n_rows, VOCABULARY.n_tokens)).astype(np.float32)
        logits[:, BEGIN:] -= random.choice([0, 2, 6], size=(n_rows, 1))
        choice = rules.choose(torch.from_numpy(logits.copy()), order)
        for place, row in enumerate(order.tolist()):
            plan, chosen = plans[row], int(choice.tokens[place])
            if len(tokens[row]) < len(plan.forced):
                assert chosen == plan.forced[len(tokens[row])]
            else:
                expected = reference(logits[place], tokens[row][len(plan.forced) :], timed=plan.timestamps)
                assert chosen == int(expected.argmax())
                assert float(choice.logprobs[place]) == pytest.approx(float(expected.max()), abs=1e-4)
                n_times += chosen >= BEGIN
            tokens[row].append(chosen)
    assert n_times > 100


def test_a_request_that_goes_on_after_a_pause_chooses_as_if_it_had_not_paused() -> None:
    random = np.random.default_rng(1)
    for n_before in range(12):
        going, paused = (Rules(VOCABULARY, 2, torch.device("cpu")) for _ in range(2))
        plan, row = Plan(forced=(62, 65), timestamps=True), np.array([1])
        going.load(1, plan)
        tokens: list[int] = []
        for _ in range(n_before):
            logits = torch.from_numpy(random.normal(scale=3, size=(1, VOCABULARY.n_tokens)).astype(np.float32))
            tokens.append(int(going.choose(logits, row).tokens[0]))
        paused.load(1, plan, tokens)
        for _ in range(6):
            logits = torch.from_numpy(random.normal(scale=3, size=(1, VOCABULARY.n_tokens)).astype(np.float32))
            ours, theirs = (rules.choose(logits.clone(), row) for rules in (going, paused))
            assert int(ours.tokens[0]) == int(theirs.tokens[0])


def random_logits(random: np.random.Generator, n_rows: int) -> np.ndarray[Any, Any]:
    return random.normal(scale=3, size=(n_rows, VOCABULARY.n_tokens)).astype(np.float32)


@pytest.mark.parametrize(("timed", "temperature"), [(False, 0.0), (True, 0.0), (True, 1.0)])
def test_a_text_ends_in_what_the_whole_of_it_came_to(timed: bool, temperature: float) -> None:
    # Figures are spelled in tokens below 4096, which this small vocabulary does not have: only their values matter.
    random = np.random.default_rng(4)
    n_rows, limit, forced = 40, 12, (62, 65)
    rules = Rules(VOCABULARY, n_rows, torch.device("cpu"))
    for row in range(n_rows):
        plan = Plan(forced=forced, timestamps=timed, temperature=temperature, max_new_tokens=limit)
        rules.load(row, plan)
    first = random_logits(random, n_rows)
    first[:, NOSPEECH] += random.choice([0, 6, 12], size=n_rows)
    heard = [math.exp(row[NOSPEECH] - log_sum(row)) for row in first.astype(np.float64)]
    tokens: list[list[int]] = [[] for _ in range(n_rows)]
    sums = [0.0] * n_rows
    ended = set()
    for number in range(len(forced) + limit + N_CLOSING):
        logits = first if number == 0 else random_logits(random, n_rows)
        logits[:, END] += 4.5 * (number > 0)
        choice = rules.choose(torch.from_numpy(logits.copy()), np.arange(n_rows))
        for row in range(n_rows):
            text = tokens[row][len(forced) :]
            if number >= len(forced) and row not in ended and len(text) < limit:
                sums[row] += float(choice.logprobs[row])
                if int(reference(logits[row], text, timed=timed).argmax()) == END:
                    ended.add(row)
            tokens[row].append(int(choice.tokens[row]))
    for row, all_tokens in enumerate(tokens):
        assert VOCABULARY.stop in all_tokens
        until_stop = all_tokens[: all_tokens.index(VOCABULARY.stop) + 1]
        text, closing = until_stop[len(forced) : -N_CLOSING], until_stop[-N_CLOSING:]
        assert END not in text
        assert len(text) <= limit
        sum_logprob, no_speech = spelled_out(closing)
        assert no_speech == pytest.approx(heard[row], abs=2e-4)
        if temperature == 0:
            assert sum_logprob == pytest.approx(sums[row], abs=2e-3)
    if temperature == 0:
        lengths = {len(all_tokens[: all_tokens.index(VOCABULARY.stop)]) for all_tokens in tokens}
        assert len(lengths) > 3


def test_a_detection_gets_the_probabilities_before_all_rules() -> None:
    rules = Rules(VOCABULARY, 2, torch.device("cpu"))
    rules.load(1, Plan(detects=True))
    logits = torch.randn(2, VOCABULARY.n_tokens)
    choice = rules.choose(logits.clone(), np.array([0, 1]))
    assert choice.detecting.tolist() == [1]
    assert torch.allclose(choice.raw_logprobs[0], torch.log_softmax(logits[1], -1))


def test_draws_follow_the_temperature_and_the_rules() -> None:
    rules = Rules(VOCABULARY, 3000, torch.device("cpu"))
    row = np.random.default_rng(2).normal(scale=2, size=VOCABULARY.n_tokens).astype(np.float32)
    slots = np.arange(3000)
    for slot in range(3000):
        rules.load(slot, Plan(temperature=0.5 if slot else 0.0))
    choice = rules.choose(torch.from_numpy(np.tile(row, (3000, 1))), slots)
    logprobs = reference(row, [], timed=False)
    assert int(choice.tokens[0]) == int(logprobs.argmax())
    weights = np.exp((logprobs - logprobs.max()) / 0.5)
    expected = weights / weights.sum()
    drawn = np.bincount(choice.tokens[1:].numpy(), minlength=VOCABULARY.n_tokens) / 2999
    assert np.abs(drawn - expected).max() < 0.03
    assert not drawn[[*VOCABULARY.suppressed, *VOCABULARY.suppressed_first]].any()
    for token, logprob in zip(choice.tokens.tolist(), choice.logprobs.tolist(), strict=True):
        assert logprob == pytest.approx(logprobs[token], abs=1e-4)


def test_drawn_rows_keep_the_timestamp_rules() -> None:
    rules = Rules(VOCABULARY, 200, torch.device("cpu"))
    slots = np.arange(200)
    for slot in range(200):
        rules.load(slot, Plan(temperature=1.0, timestamps=True))
    tokens: list[list[int]] = [[] for _ in slots]
    for _ in range(8):
        logits = np.random.default_rng(3).normal(size=(200, VOCABULARY.n_tokens)).astype(np.float32)
        choice = rules.choose(torch.from_numpy(logits.copy()), slots)
        for slot in slots.tolist():
            allowed = reference(logits[slot], tokens[slot], timed=True)
            assert np.isfinite(allowed[int(choice.tokens[slot])])
            tokens[slot].append(int(choice.tokens[slot]))


def test_vocabulary_and_plan_survive_their_way_through_vllm() -> None:
    assert Vocabulary.from_config(VOCABULARY.as_config()) == VOCABULARY
    plan = Plan(forced=(62, 65), timestamps=True, temperature=0.4)
    assert Plan.from_extra_args(plan.as_extra_args()) == plan
    assert Plan.from_extra_args(None) == Plan()

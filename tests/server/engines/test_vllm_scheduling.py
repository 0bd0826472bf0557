"""Throttled prefills and final-only outputs, over doubles of vLLM's scheduler."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from whisper_server.engines.gpu.model_facts import Vocabulary
from whisper_server.engines.vllm.wire import WhisperOutput, WhisperParams, vocabulary_to_config
from whisper_server.engines.vllm.worker.scheduling import (
    ClientOutputs,
    FinalOnlyOutputs,
    RequestOutput,
    ThrottledPrefills,
)
from whisper_server.whisper.constants import N_AUDIO_POSITIONS

N_FULL_BATCH, MAX_RUNNING = 4, 10


@dataclass
class PrefillDouble:
    max_num_encoder_input_tokens: int = N_FULL_BATCH * N_AUDIO_POSITIONS + 1024
    max_num_running_reqs: int = MAX_RUNNING
    waiting: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)

    def schedule(self) -> Any:
        max_windows = self.max_num_encoder_input_tokens // N_AUDIO_POSITIONS
        prefilled = self.waiting[: min(max_windows, self.max_num_running_reqs - len(self.running))]
        del self.waiting[: len(prefilled)]
        self.running += prefilled
        return SimpleNamespace(scheduled_encoder_inputs={name: [0] for name in prefilled})


class ThrottledScheduler(ThrottledPrefills, PrefillDouble):
    def n_prefilled(self, *arriving: str) -> int:
        """Number of windows that one step begins."""
        self.waiting += arriving
        return len(self.schedule().scheduled_encoder_inputs)


def test_prefill_starts_at_once_while_no_request_decodes() -> None:
    scheduler = ThrottledScheduler()
    for name in "abc":
        assert scheduler.n_prefilled(name) == 1
        scheduler.running.clear()


def test_prefill_waits_one_step_after_a_prefill() -> None:
    scheduler = ThrottledScheduler()
    assert scheduler.n_prefilled("a") == 1
    assert scheduler.n_prefilled("b") == 0
    assert scheduler.n_prefilled("c") == 2
    assert scheduler.n_prefilled() == 0
    assert scheduler.n_prefilled("d") == 1


def test_full_batch_does_not_wait() -> None:
    scheduler = ThrottledScheduler()
    assert scheduler.n_prefilled(*"abcdefgh") == N_FULL_BATCH
    assert scheduler.n_prefilled() == N_FULL_BATCH


def test_batch_is_not_full_without_free_places() -> None:
    scheduler = ThrottledScheduler()
    scheduler.running = list("123456789")
    assert scheduler.n_prefilled(*"abcdef") == 1
    scheduler.running = list("1234567")
    assert scheduler.n_prefilled() == 0
    assert scheduler.n_prefilled() == 3


VOCABULARY = Vocabulary(
    n_tokens=100,
    endoftext=50,
    notimestamps=60,
    nospeech=59,
    suppressed=(),
    suppressed_first=(),
    languages=(52, 53, 54),
    startoftranscript=51,
)


@dataclass
class Output:
    request_id: str
    new_token_ids: list[int]
    finish_reason: object = None
    new_logprobs: object = "vLLM's"


@dataclass
class Outputs:
    outputs: list[RequestOutput]
    finished_requests: set[str] | None = None
    scheduler_stats: object = None


@dataclass
class OutputDouble:
    vllm_config: Any
    added: list[str] = field(default_factory=list)
    returned: dict[int, ClientOutputs] = field(default_factory=dict)

    def add_request(self, request: Any) -> None:
        self.added.append(request.request_id)

    def finish_requests(self, request_ids: list[str], _: str) -> list[Any]:
        return [SimpleNamespace(request_id=request_id) for request_id in request_ids]

    def update_from_output(self, _: object, __: object) -> dict[int, ClientOutputs]:
        return dict(self.returned)


class BufferingScheduler(FinalOnlyOutputs, OutputDouble):
    pass


@pytest.fixture
def scheduler() -> BufferingScheduler:
    return BufferingScheduler(SimpleNamespace(additional_config=vocabulary_to_config(VOCABULARY)))


def add(scheduler: BufferingScheduler, name: str, params: WhisperParams) -> None:
    parameters = SimpleNamespace(extra_args=params.to_extra_args())
    scheduler.add_request(SimpleNamespace(request_id=name, sampling_params=parameters))


def step(
    scheduler: BufferingScheduler, outputs: list[RequestOutput], rows: dict[str, list[float]]
) -> list[RequestOutput]:
    """Those of a step's outputs that are returned; `rows` holds the log-probabilities of every request in the batch."""
    scheduler.returned = {0: Outputs(outputs)}
    width = max(map(len, rows.values()))
    values = np.array([row + [0.0] * (width - len(row)) for row in rows.values()], dtype=np.float32)
    ran = SimpleNamespace(
        logprobs=SimpleNamespace(logprobs=values),
        req_id_to_index={name: place for place, name in enumerate(rows)},
    )
    returned = scheduler.update_from_output(None, ran)
    return returned[0].outputs if 0 in returned else []


def test_output_is_returned_once_with_its_side_channel(scheduler: BufferingScheduler) -> None:
    add(scheduler, "a", WhisperParams(n_task_tokens=4))
    assert scheduler.added == ["a"]
    assert step(scheduler, [Output("a", [7])], {"a": [-0.5, -1002.0]}) == []
    assert step(scheduler, [Output("a", [8])], {"b": [-9.0], "a": [-0.25]}) == []
    (last,) = step(scheduler, [Output("a", [50], "stop")], {"a": [-0.125]})
    assert WhisperOutput.from_wire(last.new_token_ids) == WhisperOutput((7, 8, 50), (-0.5, -0.25, -0.125), (-1002.0,))
    assert last.new_logprobs is None


def test_detection_returns_languages_in_a_batch_with_a_decoding(scheduler: BufferingScheduler) -> None:
    add(scheduler, "a", WhisperParams(n_task_tokens=1, detects_language=True))
    add(scheduler, "b", WhisperParams(n_task_tokens=4))
    rows = {"b": [-0.5, -1001.0], "a": [0.0, -1000.5, -1001.5, -1002.5]}
    (detected,) = step(scheduler, [Output("b", [7]), Output("a", [50], "length")], rows)
    assert WhisperOutput.from_wire(detected.new_token_ids).side_channel == (-1000.5, -1001.5, -1002.5)
    (text,) = step(scheduler, [Output("b", [50], "stop")], {"b": [-0.5]})
    assert WhisperOutput.from_wire(text.new_token_ids).side_channel == (-1001.0,)


def test_output_without_tokens_adds_nothing(scheduler: BufferingScheduler) -> None:
    add(scheduler, "a", WhisperParams(n_task_tokens=4))
    step(scheduler, [Output("a", [7])], {"a": [-0.5, -1002.0]})
    (last,) = step(scheduler, [Output("a", [], "error")], {"b": [-1.0]})
    assert WhisperOutput.from_wire(last.new_token_ids).tokens == (7,)


def test_aborted_request_is_forgotten(scheduler: BufferingScheduler) -> None:
    add(scheduler, "a", WhisperParams(n_task_tokens=4))
    step(scheduler, [Output("a", [7])], {"a": [-0.5, -1002.0]})
    scheduler.finish_requests(["a", "unknown"], "aborted")
    add(scheduler, "a", WhisperParams(n_task_tokens=4))
    (last,) = step(scheduler, [Output("a", [9], "length")], {"a": [-0.5, -1002.0]})
    assert WhisperOutput.from_wire(last.new_token_ids).tokens == (9,)


def test_empty_outputs_are_kept_for_their_other_fields(scheduler: BufferingScheduler) -> None:
    scheduler.returned = {
        0: Outputs([], finished_requests={"a"}),
        1: Outputs([], scheduler_stats="some"),
        2: Outputs([]),
    }
    outputs = scheduler.update_from_output(None, SimpleNamespace(logprobs=None, req_id_to_index={}))
    assert set(outputs) == {0, 1}

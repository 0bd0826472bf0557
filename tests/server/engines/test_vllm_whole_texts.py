"""Texts kept until they end, over a double of vLLM's scheduler that says what it is told to say."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from whisper_server.engines.vllm.wire import Vocabulary, WhisperOutput, WhisperParams
from whisper_server.engines.vllm.worker.scheduling import FinalOnlyOutputs

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
    finish_reason: str | None = None
    new_logprobs: Any = "vLLM's"


@dataclass
class Outputs:
    outputs: list[Output]
    finished_requests: set[str] | None = None
    scheduler_stats: Any = None


@dataclass
class SchedulerDouble:
    vllm_config: Any
    added: list[str] = field(default_factory=list)
    said: dict[int, Outputs] = field(default_factory=dict)

    def add_request(self, request: Any) -> None:
        self.added.append(request.request_id)

    def finish_requests(self, request_ids: list[str], _: str) -> list[Any]:
        return [SimpleNamespace(request_id=request_id) for request_id in request_ids]

    def update_from_output(self, _: Any, __: Any) -> dict[int, Outputs]:
        return dict(self.said)


class Scheduler(FinalOnlyOutputs, SchedulerDouble):
    pass


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler(SimpleNamespace(additional_config=VOCABULARY.to_config()))


def add(scheduler: Scheduler, name: str, params: WhisperParams) -> None:
    parameters = SimpleNamespace(extra_args=params.to_extra_args())
    scheduler.add_request(SimpleNamespace(request_id=name, sampling_params=parameters))


def step(scheduler: Scheduler, outputs: list[Output], rows: dict[str, list[float]]) -> list[Output]:
    """What is handed on of a step's outputs; `rows` are the values of all that were in the batch."""
    scheduler.said = {0: Outputs(outputs)}
    width = max(map(len, rows.values()))
    values = np.array([row + [0.0] * (width - len(row)) for row in rows.values()], dtype=np.float32)
    ran = SimpleNamespace(
        logprobs=SimpleNamespace(logprobs=values),
        req_id_to_index={name: place for place, name in enumerate(rows)},
    )
    answers = scheduler.update_from_output(None, ran)
    return answers[0].outputs if 0 in answers else []


def test_a_text_is_handed_on_whole_with_what_its_first_step_heard(scheduler: Scheduler) -> None:
    add(scheduler, "a", WhisperParams(n_task_tokens=4))
    assert scheduler.added == ["a"]
    assert step(scheduler, [Output("a", [7])], {"a": [-0.5, -1002.0]}) == []
    assert step(scheduler, [Output("a", [8])], {"b": [-9.0], "a": [-0.25]}) == []
    (last,) = step(scheduler, [Output("a", [50], "stop")], {"a": [-0.125]})
    assert WhisperOutput.from_wire(last.new_token_ids) == WhisperOutput((7, 8, 50), (-0.5, -0.25, -0.125), (-1002.0,))
    assert last.new_logprobs is None


def test_languages_come_back_from_a_detection_beside_a_text(scheduler: Scheduler) -> None:
    add(scheduler, "a", WhisperParams(n_task_tokens=1, detects_language=True))
    add(scheduler, "b", WhisperParams(n_task_tokens=4))
    rows = {"b": [-0.5, -1001.0], "a": [0.0, -1000.5, -1001.5, -1002.5]}
    (detected,) = step(scheduler, [Output("b", [7]), Output("a", [50], "length")], rows)
    assert WhisperOutput.from_wire(detected.new_token_ids).side_channel == (-1000.5, -1001.5, -1002.5)
    (text,) = step(scheduler, [Output("b", [50], "stop")], {"b": [-0.5]})
    assert WhisperOutput.from_wire(text.new_token_ids).side_channel == (-1001.0,)


def test_an_output_without_tokens_adds_nothing(scheduler: Scheduler) -> None:
    add(scheduler, "a", WhisperParams(n_task_tokens=4))
    step(scheduler, [Output("a", [7])], {"a": [-0.5, -1002.0]})
    (last,) = step(scheduler, [Output("a", [], "error")], {"b": [-1.0]})
    assert WhisperOutput.from_wire(last.new_token_ids).tokens == (7,)


def test_who_leaves_is_forgotten(scheduler: Scheduler) -> None:
    add(scheduler, "a", WhisperParams(n_task_tokens=4))
    step(scheduler, [Output("a", [7])], {"a": [-0.5, -1002.0]})
    scheduler.finish_requests(["a", "unknown"], "aborted")
    add(scheduler, "a", WhisperParams(n_task_tokens=4))
    (last,) = step(scheduler, [Output("a", [9], "length")], {"a": [-0.5, -1002.0]})
    assert WhisperOutput.from_wire(last.new_token_ids).tokens == (9,)


def test_what_vllm_tells_beside_outputs_still_arrives(scheduler: Scheduler) -> None:
    scheduler.said = {0: Outputs([], finished_requests={"a"}), 1: Outputs([], scheduler_stats="some"), 2: Outputs([])}
    answers = scheduler.update_from_output(None, SimpleNamespace(logprobs=None, req_id_to_index={}))
    assert set(answers) == {0, 1}

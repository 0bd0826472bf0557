"""Messages between the server's and vLLM's process come back as they were sent, also where tuples become lists."""

import json
from typing import Any

import numpy as np

from whisper_server.engines.gpu.model_facts import Vocabulary
from whisper_server.engines.vllm.wire import (
    AlignResult,
    AlignTask,
    WhisperOutput,
    WhisperParams,
    vocabulary_from_config,
    vocabulary_to_config,
)

VOCABULARY = Vocabulary(
    n_tokens=100,
    endoftext=50,
    notimestamps=60,
    nospeech=59,
    suppressed=(3, 7),
    suppressed_first=(),
    languages=(52, 53, 54),
    startoftranscript=51,
)


def sent(message: dict[str, object]) -> Any:
    return json.loads(json.dumps(message))


def test_output_survives_the_wire() -> None:
    output = WhisperOutput((5, 70_000, 60), (-0.5, -1.25e-7, 0.0), (-1003.25, float("-inf")))
    row = output.to_wire()
    assert all(isinstance(number, int) for number in row)
    rounded = tuple(float(np.float32(value)) for value in output.logprobs)
    assert WhisperOutput.from_wire(row) == WhisperOutput(output.tokens, rounded, output.side_channel)


def test_vocabulary_survives_the_wire() -> None:
    assert vocabulary_from_config(sent(vocabulary_to_config(VOCABULARY))) == VOCABULARY


def test_params_survive_the_wire() -> None:
    params = WhisperParams(n_task_tokens=4, timestamps=True, temperature=0.4)
    assert WhisperParams.from_extra_args(sent(params.to_extra_args())) == params


def test_request_without_params_has_no_rules() -> None:
    for extra_args in (None, {}, {"other": 1}):
        assert WhisperParams.from_extra_args(extra_args) == WhisperParams(n_task_tokens=0)


def test_align_task_survives_the_wire() -> None:
    task = AlignTask(3, 1e-4, 50, ((2, 0), (3, 1)), (51, 52), 60, (11, 12), 50)
    assert AlignTask.from_wire(sent(task.to_wire())) == task
    assert task.tokens == (51, 52, 60, 11, 12, 50)


def test_align_result_survives_the_wire() -> None:
    attention = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)[:, ::2]
    received = AlignResult.from_wire(AlignResult(attention, (0.5, 0.25)).to_wire())
    assert np.array_equal(received.attention, attention)
    assert received.probabilities == (0.5, 0.25)

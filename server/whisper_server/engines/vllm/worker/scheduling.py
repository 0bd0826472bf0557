"""Changes to vLLM's schedulers: throttled prefills, and outputs that are returned once, at the end of a request.

Mixed into vLLM's schedulers by `scheduler`. Imports neither torch nor vllm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from whisper_server.engines.vllm.wire import WhisperOutput, WhisperParams, vocabulary_from_config
from whisper_server.whisper.constants import N_AUDIO_POSITIONS


class SamplingParams(Protocol):
    """What is used of vLLM's SamplingParams."""

    extra_args: dict[str, Any] | None


class Request(Protocol):
    """What is used of vLLM's Request."""

    request_id: str
    sampling_params: SamplingParams


class RequestOutput(Protocol):
    """What is used of vLLM's EngineCoreOutput: a step's output for one request."""

    request_id: str
    new_token_ids: list[int]
    new_logprobs: object
    finish_reason: object


class ClientOutputs(Protocol):
    """What is used of vLLM's EngineCoreOutputs: a step's outputs for one client of the engine."""

    outputs: list[RequestOutput]
    finished_requests: set[str] | None
    scheduler_stats: object


class ThrottledPrefills:
    """Throttles prefills.

    A step with new windows cannot use the CUDA graph: its kernels are launched one by one, which keeps vLLM's process
    busier than the GPU, and costs about the same for one window as for a full batch. So after such a step new windows
    wait for one step, unless a full batch of them is ready.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._encoder_budget: int = self.max_num_encoder_input_tokens
        self._full_batch = self._encoder_budget // N_AUDIO_POSITIONS
        self._last_step_had_prefills = False

    def schedule(self, *args: object, **kwargs: object) -> Any:
        """The next step, as vLLM's SchedulerOutput."""
        self.max_num_encoder_input_tokens = self._encoder_budget if self._may_prefill() else 0
        step = super().schedule(*args, **kwargs)  # type: ignore[misc]
        self._last_step_had_prefills = bool(step.scheduled_encoder_inputs)
        return step

    def _may_prefill(self) -> bool:
        """Always where no request is decoding: nothing would be gained by waiting."""
        n_running, n_waiting = len(self.running), len(self.waiting)  # type: ignore[attr-defined]
        n_free = self.max_num_running_reqs - n_running  # type: ignore[attr-defined]
        return not (self._last_step_had_prefills and n_running) or min(n_waiting, n_free) >= self._full_batch


@dataclass
class BufferedOutput:
    """The output of a request so far."""

    n_side_channel: int
    """Length of the side channel, which the first step returns after the token's log-probability."""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    side_channel: tuple[float, ...] = ()

    def add(self, tokens: list[int], row: npt.NDArray[np.float32] | None) -> None:
        """Add the tokens of a step, and the row of log-probabilities that came with them."""
        if row is not None:
            if not self.tokens:
                self.side_channel = tuple(row[1 : 1 + self.n_side_channel].tolist())
            self.logprobs.append(float(row[0]))
        self.tokens += tokens

    def to_wire(self) -> list[int]:
        """As the row of integers that vLLM returns for the request's tokens."""
        return WhisperOutput(tuple(self.tokens), tuple(self.logprobs), self.side_channel).to_wire()


class FinalOnlyOutputs:
    """Buffers the outputs of requests until they end.

    One token of each of hundreds of requests, made a message, sent and read in the server's process, takes more time
    than decoding it.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        config = self.vllm_config.additional_config  # type: ignore[attr-defined]
        self._n_languages = len(vocabulary_from_config(config).languages)
        self._buffered: dict[str, BufferedOutput] = {}

    def add_request(self, request: Request) -> None:
        """Start a buffer for the request."""
        params = WhisperParams.from_extra_args(request.sampling_params.extra_args)
        self._buffered[request.request_id] = BufferedOutput(self._n_languages if params.detects_language else 1)
        super().add_request(request)  # type: ignore[misc]

    def finish_requests(self, *args: object, **kwargs: object) -> list[Request]:
        """Drop the buffers of requests that end early: their clients have disconnected, or the engine stops."""
        requests: list[Request] = super().finish_requests(*args, **kwargs)  # type: ignore[misc]
        for request in requests:
            self._buffered.pop(request.request_id, None)
        return requests

    def update_from_output(self, scheduler_output: object, model_runner_output: Any) -> dict[int, ClientOutputs]:
        """The outputs by client, without those of requests that have not ended."""
        outputs_of_client: dict[int, ClientOutputs] = super().update_from_output(scheduler_output, model_runner_output)  # type: ignore[misc]
        logprobs, row_of_request = model_runner_output.logprobs, model_runner_output.req_id_to_index
        for client, outputs in list(outputs_of_client.items()):
            ended = []
            for output in outputs.outputs:
                if output.new_token_ids:
                    row = None if logprobs is None else logprobs.logprobs[row_of_request[output.request_id]]
                    self._buffered[output.request_id].add(output.new_token_ids, row)
                if output.finish_reason is not None:
                    ended.append(self._final(output))
            outputs.outputs = ended
            if not (ended or outputs.finished_requests or outputs.scheduler_stats):
                del outputs_of_client[client]
        return outputs_of_client

    def _final(self, output: RequestOutput) -> RequestOutput:
        """The last output of a request, with all of its tokens."""
        output.new_token_ids = self._buffered.pop(output.request_id).to_wire()
        output.new_logprobs = None
        return output

"""How vLLM's schedulers are changed: prefills are throttled, and a request's output is handed on once, at its end.

Mixed into vLLM's schedulers by `scheduler`. Imports neither torch nor vllm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from whisper_server.engines.vllm.wire import Vocabulary, WhisperOutput, WhisperParams
from whisper_server.whisper.constants import N_AUDIO_POSITIONS


class ThrottledPrefills:
    """Mixed into a scheduler of vLLM's: holds new windows back for a step, unless there are enough for a whole bunch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._encoder_budget: int = self.max_num_encoder_input_tokens
        self._full_batch = self._encoder_budget // N_AUDIO_POSITIONS
        self._last_step_had_prefills = False

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        """The next step."""
        self.max_num_encoder_input_tokens = self._encoder_budget if self._may_prefill() else 0
        step = super().schedule(*args, **kwargs)  # type: ignore[misc]
        self._last_step_had_prefills = bool(step.scheduled_encoder_inputs)
        return step

    def _may_prefill(self) -> bool:
        """Where nothing is decoded there is nothing to wait for."""
        n_running, n_waiting = len(self.running), len(self.waiting)  # type: ignore[attr-defined]
        n_places = self.max_num_running_reqs - n_running  # type: ignore[attr-defined]
        return not (self._last_step_had_prefills and n_running) or min(n_waiting, n_places) >= self._full_batch


@dataclass
class BufferedOutput:
    """What a request has come to so far."""

    n_columns: int
    """That its first step hands back beside the token's log-probability."""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    side_channel: tuple[float, ...] = ()

    def add(self, tokens: list[int], values: Any) -> None:
        """Tokens of a step, and the row of values that came with them."""
        if values is not None:
            if not self.tokens:
                self.side_channel = tuple(values[1 : 1 + self.n_columns].tolist())
            self.logprobs.append(float(values[0]))
        self.tokens += tokens

    def to_wire(self) -> list[int]:
        """As it is handed on."""
        return WhisperOutput(tuple(self.tokens), tuple(self.logprobs), self.side_channel).to_wire()


class FinalOnlyOutputs:
    """Mixed into a scheduler of vLLM's: keeps the tokens of requests until they end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        config = self.vllm_config.additional_config  # type: ignore[attr-defined]
        self._n_languages = len(Vocabulary.from_config(config).languages)
        self._buffered: dict[str, BufferedOutput] = {}

    def add_request(self, request: Any) -> None:
        """A request comes."""
        detects_language = WhisperParams.from_extra_args(request.sampling_params.extra_args).detects_language
        self._buffered[request.request_id] = BufferedOutput(self._n_languages if detects_language else 1)
        super().add_request(request)  # type: ignore[misc]

    def finish_requests(self, *args: Any, **kwargs: Any) -> Any:
        """Clients have left, or the engine ends: what these requests came to is of no use."""
        requests = super().finish_requests(*args, **kwargs)  # type: ignore[misc]
        for request in requests:
            self._buffered.pop(request.request_id, None)
        return requests

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> dict[int, Any]:
        """What vLLM would hand on, less all that has not ended."""
        answers: dict[int, Any] = super().update_from_output(scheduler_output, model_runner_output)  # type: ignore[misc]
        values, rows = model_runner_output.logprobs, model_runner_output.req_id_to_index
        for client, answer in list(answers.items()):
            kept = []
            for output in answer.outputs:
                if output.new_token_ids:
                    row = None if values is None else values.logprobs[rows[output.request_id]]
                    self._buffered[output.request_id].add(output.new_token_ids, row)
                if output.finish_reason is not None:
                    kept.append(self._final(output))
            answer.outputs = kept
            if not (kept or answer.finished_requests or answer.scheduler_stats):
                del answers[client]
        return answers

    def _final(self, output: Any) -> Any:
        """The last output of a request, with all of its tokens."""
        output.new_token_ids = self._buffered.pop(output.request_id).to_wire()
        output.new_logprobs = None
        return output

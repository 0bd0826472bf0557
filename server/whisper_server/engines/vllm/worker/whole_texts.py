"""A request is handed on once, when it has ended, instead of token by token.

A token of each of hundreds of requests, made a message, sent and read in the server's process, takes more time than
decoding it. Mixed into vLLM's schedulers by `scheduler`; knows neither torch nor vllm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from whisper_server.engines.vllm.plans import Answer, Plan, Vocabulary


@dataclass
class Text:
    """What a request has come to so far."""

    n_columns: int
    """That its first step hands back beside the token's log-probability."""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    first_columns: tuple[float, ...] = ()

    def add(self, tokens: list[int], values: Any) -> None:
        """Tokens of a step, and the row of values that came with them."""
        if values is not None:
            if not self.tokens:
                self.first_columns = tuple(values[1 : 1 + self.n_columns].tolist())
            self.logprobs.append(float(values[0]))
        self.tokens += tokens

    def packed(self) -> list[int]:
        """As it is handed on."""
        return Answer(tuple(self.tokens), tuple(self.logprobs), self.first_columns).packed()


class WholeTexts:
    """Mixed into a scheduler of vLLM's: keeps the tokens of requests until they end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        config = self.vllm_config.additional_config  # type: ignore[attr-defined]
        self._n_languages = len(Vocabulary.from_config(config).languages)
        self._texts: dict[str, Text] = {}

    def add_request(self, request: Any) -> None:
        """A request comes."""
        detects = Plan.from_extra_args(request.sampling_params.extra_args).detects
        self._texts[request.request_id] = Text(self._n_languages if detects else 1)
        super().add_request(request)  # type: ignore[misc]

    def finish_requests(self, *args: Any, **kwargs: Any) -> Any:
        """Clients have left, or the engine ends: what these requests came to is of no use."""
        requests = super().finish_requests(*args, **kwargs)  # type: ignore[misc]
        for request in requests:
            self._texts.pop(request.request_id, None)
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
                    self._texts[output.request_id].add(output.new_token_ids, row)
                if output.finish_reason is not None:
                    kept.append(self._whole(output))
            answer.outputs = kept
            if not (kept or answer.finished_requests or answer.scheduler_stats):
                del answers[client]
        return answers

    def _whole(self, output: Any) -> Any:
        """The last output of a request, with all of its tokens."""
        output.new_token_ids = self._texts.pop(output.request_id).packed()
        output.new_logprobs = None
        return output

"""The rules in place of the sampler of vLLM's V2 model runner, which GPUs use.

vLLM 0.26 gives up that runner, and a good part of its speed, where a custom logits processor is configured; but
a model may bring its own sampler (`ModelState.custom_sampler`). What it returns beside the tokens are columns of
our own, where a request asks for them: the token's log-probability, then those of the languages.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from vllm.v1.outputs import LogprobsTensors
from vllm.v1.worker.gpu.input_batch import get_num_sampled_and_rejected
from vllm.v1.worker.gpu.model_states.encoder_decoder import EncoderDecoderModelState
from vllm.v1.worker.gpu.sample.output import SamplerOutput
from vllm.v1.worker.gpu.sample.sampler import Sampler

from whisper_server.engines.vllm.plans import SAMPLES, SCALE, Plan, Vocabulary
from whisper_server.engines.vllm.profile import N_AUDIO_POSITIONS
from whisper_server.engines.vllm.rules import Choice, Rules
from whisper_server.engines.vllm.staging import Staging


class RulesSampler(Sampler):
    """Chooses by the rules; of the base class only the states that the model runner reads remain."""

    def __init__(self, base: Sampler, vocabulary: Vocabulary, n_slots: int, device: torch.device) -> None:
        self.__dict__.update(vars(base))
        self._vocabulary = vocabulary
        self._rules = Rules(vocabulary, n_slots, device, compiles=True)
        self._languages = torch.tensor(vocabulary.languages, dtype=torch.int64, device=device)
        self.histories: dict[int, list[int]] = {}
        """Tokens that a request decoded before it was paused, by its place."""

    def add_request(self, req_idx: int, prompt_len: int, sampling_params: Any) -> None:
        super().add_request(req_idx, prompt_len, sampling_params)
        plan = Plan.from_extra_args(sampling_params.extra_args)
        self._rules.load(req_idx, plan, self.histories.pop(req_idx, ()))

    def __call__(self, logits: torch.Tensor, input_batch: Any) -> SamplerOutput:
        slots = input_batch.idx_mapping_np.astype(np.int64)
        choice = self._rules.choose(logits, slots, input_batch.idx_mapping)
        num_sampled, num_rejected = get_num_sampled_and_rejected(
            input_batch.seq_lens.new_ones(input_batch.num_reqs),
            input_batch.seq_lens,
            input_batch.cu_num_logits,
            input_batch.idx_mapping,
            self.req_states.prefill_len.gpu,
        )
        return SamplerOutput(
            sampled_token_ids=choice.tokens.view(-1, 1),
            logprobs_tensors=self._columns(choice),
            num_nans=None,
            num_sampled=num_sampled,
            num_rejected=num_rejected,
        )

    def _columns(self, choice: Choice) -> LogprobsTensors | None:
        """None wherever nobody asks: handing them on costs more than a step of decoding."""
        if not choice.wants_logprobs:
            return None
        n_rows, device = choice.tokens.shape[0], choice.tokens.device
        n_columns = 1 + (len(self._vocabulary.languages) if choice.detecting.size else 1)
        values = torch.zeros((n_rows, n_columns), dtype=torch.float32, device=device)
        values[:, 0] = choice.logprobs
        if choice.detecting.size:
            rows = torch.from_numpy(choice.detecting).to(device, non_blocking=True)
            values[rows, 1:] = choice.raw_logprobs[:, self._languages]
        tokens = choice.tokens.unsqueeze(1).to(torch.int32).expand(n_rows, n_columns).contiguous()
        return LogprobsTensors(tokens, values, torch.zeros(n_rows, dtype=torch.int64, device=device))


class RulesModelState(EncoderDecoderModelState):
    """Brings the sampler, tells it what a request decoded before it was paused, and hands windows to the encoder."""

    _staging: Staging | None = None

    def custom_sampler(self, sampler: Any) -> tuple[Any, Any]:
        vocabulary = Vocabulary.from_config(self.vllm_config.additional_config)
        self._rules_sampler = RulesSampler(sampler, vocabulary, self.max_num_reqs, self.device)
        return self._rules_sampler, None

    def get_mm_embeddings(self, scheduled_encoder_inputs: Any, input_batch: Any, req_states: Any) -> None:  # noqa: ARG002 - vLLM calls it so
        """Encode the windows of new requests, in the order of the batch."""
        windows, scales = [], []
        for req_id in input_batch.req_ids:
            for number in scheduled_encoder_inputs.get(req_id, ()):
                item = self.encoder_cache.mm_features[req_id][number].data
                windows.append(item[SAMPLES].data)
                scales.append(float(item[SCALE].data))
        if not windows:
            self.encoder_outputs = []
            return
        if self._staging is None:
            self._staging = Staging(self.max_num_tokens // N_AUDIO_POSITIONS, self.device)
        self.encoder_outputs = list(self.model.encode(*self._staging.load(windows, scales)).unbind(0))

    def add_request(self, req_index: int, new_req_data: Any) -> None:
        super().add_request(req_index, new_req_data)
        decoded = new_req_data.prefill_token_ids[len(new_req_data.prompt_token_ids) :]
        if decoded:
            self._rules_sampler.histories[req_index] = list(decoded)

"""The rules in place of the sampler of vLLM's V2 model runner, which GPUs use.

vLLM 0.26 gives up that runner, and a good part of its speed, where a custom logits processor is configured; but
a model may bring its own sampler (`ModelState.custom_sampler`). What it returns beside the tokens are columns of
our own, which `scheduler` reads: the token's log-probability, and after a request's first step what was heard there.
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

from whisper_server.engines.vllm.wire import SCALE, SIDE_CHANNEL_OFFSET, SLOT, Vocabulary, WhisperParams
from whisper_server.engines.vllm.worker.cuda_graphs import GraphedStep
from whisper_server.engines.vllm.worker.sampler import Rows, SampledBatch, WhisperSampler, to_device


class V2Sampler(Sampler):
    """Chooses by the rules; of the base class only the states that the model runner reads remain."""

    def __init__(self, base: Sampler, model: Any, vocabulary: Vocabulary, n_slots: int, sizes: list[int]) -> None:
        self.__dict__.update(vars(base))
        self._model = model
        self._vocabulary = vocabulary
        self._device = next(model.parameters()).device
        self._sampler = WhisperSampler(vocabulary, n_slots, self._device, step_function=GraphedStep(sizes, n_slots))
        self._n_task_tokens = np.zeros(n_slots, dtype=np.int64)
        self._languages = torch.tensor(vocabulary.languages, dtype=torch.int64, device=self._device)
        # Ids and ranks that vLLM wants beside the columns, and nobody reads.
        n_unread = n_slots * (1 + max(1, len(vocabulary.languages)))
        self._ids = torch.zeros(n_unread, dtype=torch.int32, device=self._device)
        self._ranks = torch.zeros(n_slots, dtype=torch.int64, device=self._device)
        self.histories: dict[int, list[int]] = {}
        """Tokens that a request decoded before it was paused, by its place."""

    def add_request(self, req_idx: int, *more: Any) -> None:
        super().add_request(req_idx, *more)  # 0.26 says how long the prompt is, 0.33 does not; parameters come last
        params = WhisperParams.from_extra_args(more[-1].extra_args)
        self._n_task_tokens[req_idx] = params.n_task_tokens
        self._sampler.load(req_idx, params, self.histories.pop(req_idx, ()))

    def __call__(self, logits: torch.Tensor, input_batch: Any) -> SamplerOutput:
        slots = input_batch.idx_mapping_np.astype(np.int64)
        sampled = self._sampler.sample(logits, slots, input_batch.idx_mapping)
        num_sampled, num_rejected = get_num_sampled_and_rejected(
            input_batch.seq_lens.new_ones(input_batch.num_reqs),
            input_batch.seq_lens,
            input_batch.cu_num_logits,
            input_batch.idx_mapping,
            self.req_states.prefill_len.gpu,
        )
        return SamplerOutput(
            sampled_token_ids=sampled.tokens.view(-1, 1),
            logprobs_tensors=self._handed_back(sampled, slots, input_batch.query_start_loc_np),
            num_nans=None,
            num_sampled=num_sampled,
            num_rejected=num_rejected,
        )

    def _handed_back(self, sampled: SampledBatch, slots: Rows, starts: Any) -> LogprobsTensors:
        columns = self._columns(sampled, slots, starts) if sampled.first_rows.size else sampled.logprobs.unsqueeze(1)
        return LogprobsTensors(self._ids[: columns.numel()].view_as(columns), columns, self._ranks[: len(columns)])

    def _columns(self, sampled: SampledBatch, slots: Rows, starts: Any) -> torch.Tensor:
        """Log-probabilities of the tokens, and in first rows of "no speech", or of the languages."""
        # A prompt ends in its task tokens; the first of them is `<|startoftranscript|>`.
        places = starts[sampled.first_rows + 1] - self._n_task_tokens[slots[sampled.first_rows]]
        heard = self._model.logprobs_at(to_device(torch.from_numpy(places), self._device)) + SIDE_CHANNEL_OFFSET
        n_columns = 1 + max(1, len(self._languages) if sampled.detecting_rows.size else 1)
        columns = sampled.logprobs.new_zeros((len(sampled.logprobs), n_columns))
        columns[:, 0] = sampled.logprobs
        columns[to_device(torch.from_numpy(sampled.first_rows), self._device), 1] = heard[:, self._vocabulary.nospeech]
        if sampled.detecting_rows.size:
            of_first = np.searchsorted(sampled.first_rows, sampled.detecting_rows)
            languages = heard[to_device(torch.from_numpy(of_first), self._device)][:, self._languages]
            columns[to_device(torch.from_numpy(sampled.detecting_rows), self._device), 1:] = languages
        return columns


class WhisperModelState(EncoderDecoderModelState):
    """Brings the sampler, tells it what a request decoded before it was paused, and hands windows to the encoder."""

    def custom_sampler(self, sampler: Any) -> tuple[Any, Any]:
        vocabulary = Vocabulary.from_config(self.vllm_config.additional_config)
        sizes = self.vllm_config.compilation_config.cudagraph_capture_sizes or [self.max_num_reqs]
        self._v2_sampler = V2Sampler(sampler, self.model, vocabulary, self.max_num_reqs, list(sizes))
        return self._v2_sampler, None

    def get_mm_embeddings(self, scheduled_encoder_inputs: Any, input_batch: Any, req_states: Any) -> None:  # noqa: ARG002 - vLLM calls it so
        """Encode the windows of new requests, in the order of the batch."""
        items = [
            self.encoder_cache.mm_features[req_id][number].data
            for req_id in input_batch.req_ids
            for number in scheduled_encoder_inputs.get(req_id, ())
        ]
        slots = [item[SLOT].data for item in items if item is not None]
        scales = [item[SCALE].data for item in items if item is not None]
        self.encoder_outputs = self.model.encode(slots, scales) if slots else []

    prepare_inputs_embeds = get_mm_embeddings  # its name in 0.33

    def add_request(self, req_index: int, new_req_data: Any) -> None:
        super().add_request(req_index, new_req_data)
        decoded = new_req_data.prefill_token_ids[len(new_req_data.prompt_token_ids) :]
        if decoded:
            self._v2_sampler.histories[req_index] = list(decoded)

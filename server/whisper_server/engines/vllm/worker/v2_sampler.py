"""The sampler in place of that of vLLM's V2 model runner, which GPUs use.

With a custom logits processor vLLM 0.26 falls back to the V1 runner, and loses a good part of its speed; but a model
may bring its own sampler (`ModelState.custom_sampler`). It returns columns of our own as log-probabilities, which
`scheduling` reads: that of the token, and after a request's first step the side channel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from vllm.v1.outputs import LogprobsTensors
from vllm.v1.worker.gpu.input_batch import get_num_sampled_and_rejected
from vllm.v1.worker.gpu.model_states.encoder_decoder import EncoderDecoderModelState
from vllm.v1.worker.gpu.sample.output import SamplerOutput
from vllm.v1.worker.gpu.sample.sampler import Sampler

from whisper_server.engines.gpu.model_facts import Vocabulary
from whisper_server.engines.gpu.pinned_memory import to_device
from whisper_server.engines.vllm.wire import SCALE, SIDE_CHANNEL_OFFSET, SLOT, WhisperParams, vocabulary_from_config
from whisper_server.engines.vllm.worker.cuda_graphs import GraphedStep
from whisper_server.engines.vllm.worker.sampler import Rows, SampledBatch, WhisperSampler


class PrefillModel(Protocol):
    """What the sampler needs of the served model."""

    def parameters(self) -> Iterator[torch.Tensor]: ...

    def logprobs_at(self, token_indices: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of the next token after these tokens of the last prefill step."""


class V2Sampler(Sampler):
    """Samples by Whisper's rules; of the base class only the states that the model runner reads are used."""

    def __init__(
        self, base: Sampler, model: PrefillModel, vocabulary: Vocabulary, n_slots: int, sizes: list[int]
    ) -> None:
        self.__dict__.update(vars(base))
        self._model = model
        self._vocabulary = vocabulary
        self._device = next(model.parameters()).device
        step_function = GraphedStep(sizes, n_slots)
        self._whisper_sampler = WhisperSampler(vocabulary, n_slots, self._device, step_function=step_function)
        self._n_task_tokens = np.zeros(n_slots, dtype=np.int64)
        self._languages = torch.tensor(vocabulary.languages, dtype=torch.int64, device=self._device)
        # Token ids and ranks that vLLM requires with log-probabilities; nothing reads them.
        n_unread = n_slots * (1 + max(1, len(vocabulary.languages)))
        self._ids = torch.zeros(n_unread, dtype=torch.int32, device=self._device)
        self._ranks = torch.zeros(n_slots, dtype=torch.int64, device=self._device)
        self.histories: dict[int, list[int]] = {}
        """Tokens that a request decoded before vLLM preempted it, by its slot."""

    def add_request(self, req_idx: int, *more: Any) -> None:
        super().add_request(req_idx, *more)  # 0.26 passes the prompt's length, 0.33 does not; parameters come last
        params = WhisperParams.from_extra_args(more[-1].extra_args)
        self._n_task_tokens[req_idx] = params.n_task_tokens
        self._whisper_sampler.load(req_idx, params, self.histories.pop(req_idx, ()))

    def __call__(self, logits: torch.Tensor, input_batch: Any) -> SamplerOutput:
        slots = input_batch.idx_mapping_np.astype(np.int64)
        sampled = self._whisper_sampler.sample(logits, slots, input_batch.idx_mapping)
        num_sampled, num_rejected = get_num_sampled_and_rejected(
            input_batch.seq_lens.new_ones(input_batch.num_reqs),
            input_batch.seq_lens,
            input_batch.cu_num_logits,
            input_batch.idx_mapping,
            self.req_states.prefill_len.gpu,
        )
        return SamplerOutput(
            sampled_token_ids=sampled.tokens.view(-1, 1),
            logprobs_tensors=self._logprobs(sampled, slots, input_batch.query_start_loc_np),
            num_nans=None,
            num_sampled=num_sampled,
            num_rejected=num_rejected,
        )

    def _logprobs(self, sampled: SampledBatch, slots: Rows, starts: Rows) -> LogprobsTensors:
        if sampled.first_rows.size:
            columns = self._with_side_channel(sampled, slots, starts)
        else:
            columns = sampled.logprobs.unsqueeze(1)
        return LogprobsTensors(self._ids[: columns.numel()].view_as(columns), columns, self._ranks[: len(columns)])

    def _with_side_channel(self, sampled: SampledBatch, slots: Rows, starts: Rows) -> torch.Tensor:
        """Columns: the token's log-probability, then in first rows that of "no speech", or of each language.

        `starts` holds the index of each row's first token in the step's input, and one more for the end.
        """
        # A prompt ends in its task tokens; the first of them is `<|startoftranscript|>`.
        indices = starts[sampled.first_rows + 1] - self._n_task_tokens[slots[sampled.first_rows]]
        first_logprobs = self._model.logprobs_at(self._indices(indices)) + SIDE_CHANNEL_OFFSET
        n_columns = 1 + max(1, len(self._languages) if sampled.detecting_rows.size else 1)
        columns = sampled.logprobs.new_zeros((len(sampled.logprobs), n_columns))
        columns[:, 0] = sampled.logprobs
        columns[self._indices(sampled.first_rows), 1] = first_logprobs[:, self._vocabulary.nospeech]
        if sampled.detecting_rows.size:
            of_first = np.searchsorted(sampled.first_rows, sampled.detecting_rows)
            languages = first_logprobs[self._indices(of_first)][:, self._languages]
            columns[self._indices(sampled.detecting_rows), 1:] = languages
        return columns

    def _indices(self, values: Rows) -> torch.Tensor:
        return to_device(torch.from_numpy(values), self._device)


class WhisperModelState(EncoderDecoderModelState):
    """Provides the sampler, passes it the tokens of preempted requests, and passes new windows to the encoder."""

    def custom_sampler(self, sampler: Sampler) -> tuple[V2Sampler, None]:
        vocabulary = vocabulary_from_config(self.vllm_config.additional_config)
        sizes = self.vllm_config.compilation_config.cudagraph_capture_sizes or [self.max_num_reqs]
        self._v2_sampler = V2Sampler(sampler, self.model, vocabulary, self.max_num_reqs, list(sizes))
        return self._v2_sampler, None

    def get_mm_embeddings(
        self,
        scheduled_encoder_inputs: Mapping[str, Sequence[int]],
        input_batch: Any,
        req_states: object,  # noqa: ARG002 - vLLM's signature
    ) -> None:
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

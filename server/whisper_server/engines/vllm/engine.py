"""The GPU engine: vLLM's AsyncLLM behind the Engine protocol.

vLLM computes in a process of its own and batches across requests; this module turns windows into vLLM's requests, and
vLLM's outputs into ours. `worker.sampler` samples the tokens, in vLLM's process.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.inputs.engine import mm_input, tokens_input
from vllm.multimodal.inputs import (
    MultiModalBatchedField,
    MultiModalFieldElem,
    MultiModalKwargsItem,
    MultiModalKwargsItems,
    PlaceholderRange,
)
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from whisper_server.engines.gpu.model_files import ModelFiles
from whisper_server.engines.gpu.shared_audio import AudioSlot, SharedAudioPool
from whisper_server.engines.vllm.align_batcher import AlignBatcher
from whisper_server.engines.vllm.cancellable_load import load_in_thread
from whisper_server.engines.vllm.engine_args import engine_args, known_args
from whisper_server.engines.vllm.engine_config import EngineConfig
from whisper_server.engines.vllm.window import VllmWindow
from whisper_server.engines.vllm.wire import SCALE, SLOT, AlignResult, AlignTask, WhisperOutput, WhisperParams
from whisper_server.errors import ENGINE_DEAD, InternalError, StartError, Unavailable
from whisper_server.whisper.constants import N_AUDIO_POSITIONS
from whisper_server.whisper.engine_protocol import ModelFacts
from whisper_server.whisper.transcript import Samples

logger = logging.getLogger(__name__)

MODALITY = "audio"
LIVENESS_CHECK_S = 1.0
"""Period of the check that vLLM's process lives, during a call to it."""
STOP_LIMIT_S = 5.0
"""After this time vLLM's processes are killed: they hold nothing that must be saved when the engine stops."""


@dataclass(frozen=True)
class VllmConfig:
    """How the engine runs."""

    model_id: str
    files: ModelFiles
    engine_config: EngineConfig
    device: str
    """Name of the GPU, or `cpu`."""
    temporary: tempfile.TemporaryDirectory[str]
    """For vLLM's sockets; removed when the engine stops."""

    @property
    def on_cpu(self) -> bool:
        """True for vLLM's CPU build, which the tests use."""
        return self.device == "cpu"


class VllmEngine:
    """Implements the Engine protocol."""

    def __init__(self, config: VllmConfig) -> None:
        self._config = config
        self.audio_pool = SharedAudioPool.create(self.facts.n_windows_in_flight)
        """One slot for each window in flight."""
        self._llm: AsyncLLM | None = None
        self._is_stopped = False
        self._ids = itertools.count()
        self._align_batcher = AlignBatcher(self._align_windows)

    @property
    def files(self) -> ModelFiles:
        """The checkpoint."""
        return self._config.files

    @property
    def facts(self) -> ModelFacts:
        """Known before the engine starts."""
        config = self._config.engine_config
        max_windows_per_step = config.max_num_batched_tokens // N_AUDIO_POSITIONS
        return ModelFacts(
            model_id=self._config.model_id,
            engine="vllm",
            dtype=config.dtype,
            device=self._config.device,
            is_multilingual=self.files.is_multilingual,
            n_text_positions=self.files.shape.n_text_positions,
            # The windows of one more step wait inside vLLM, so that the encoder never waits for windows.
            n_windows_in_flight=config.max_num_seqs + max_windows_per_step,
        )

    async def start(self) -> None:
        """Load the model in vLLM's process. Raises StartError."""
        logging.getLogger("vllm").setLevel(logging.WARNING)
        config = self._config.engine_config
        for warning in config.warnings:
            logger.warning(warning)
        args = engine_args(self.files, config, self.audio_pool.to_config(), on_cpu=self._config.on_cpu)
        arguments = AsyncEngineArgs(**known_args(args, AsyncEngineArgs))
        try:
            self._llm = await load_in_thread(partial(AsyncLLM.from_engine_args, arguments))
            await self._call_worker("warm_up")
        except Exception as error:
            reason = " ".join(str(error).split())[:500]
            raise StartError(
                f"MODEL_ID: vLLM cannot load {self._config.model_id}: {reason}; the log above has its reasons, set "
                "VLLM_GPU_MEMORY_UTILIZATION or VLLM_MAX_NUM_BATCHED_TOKENS lower if the GPU's memory is too small"
            ) from error

    async def stop(self) -> None:
        """End vLLM's process; requests in flight get Unavailable."""
        self._is_stopped = True
        llm, self._llm = self._llm, None
        if llm is not None:
            await asyncio.to_thread(llm.shutdown, STOP_LIMIT_S)
        self.audio_pool.close()
        self._config.temporary.cleanup()

    def health(self) -> str | None:
        """None while the engine lives; else what is wrong with it."""
        if self._is_stopped:
            return "the engine has stopped"
        if self._llm is None:
            return "the model is still loading"
        return "vLLM's process has died" if self._llm.errored else None

    def open_window(
        self,
        samples: Samples,
        *,
        owner: str = "",  # noqa: ARG002 - of the Protocol
        is_live: bool = False,
        timestamps: bool = True,  # noqa: ARG002 - of the Protocol
    ) -> VllmWindow:
        """A window of at most 30 s; nothing is computed yet. All windows in flight advance together, so owners take no turns."""
        return VllmWindow(self, samples, is_live=is_live)

    async def generate(
        self, slot: AudioSlot, prompt: Sequence[int], params: WhisperParams, *, max_tokens: int
    ) -> WhisperOutput:
        """Decode from `prompt`; cancelling this call removes the request from vLLM.

        Raises Unavailable where vLLM's process is dead or not loaded, InternalError where it fails on this window.
        """
        vocabulary = self.files.vocabulary
        side_channel = vocabulary.languages if params.detects_language else (vocabulary.startoftranscript,)
        sampling_params = SamplingParams(
            temperature=0.0,
            max_tokens=max_tokens,
            stop_token_ids=[vocabulary.endoftext],
            # The V1 runner returns only the log-probabilities that it is asked for; the V2 runner's sampler is ours.
            logprob_token_ids=list(side_channel) if self._config.on_cpu else None,
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            extra_args=params.to_extra_args(),
            skip_clone=True,
        )
        request_id = str(next(self._ids))
        with _vllm_errors("decode a window"):
            outputs = self._loaded().generate(_engine_input(slot, prompt, request_id), sampling_params, request_id)
            async with aclosing(outputs):
                (output,) = [finished async for finished in outputs]
        return WhisperOutput.from_wire(output.outputs[0].token_ids)

    async def align(self, task: AlignTask) -> AlignResult:
        """Attention of one window's text tokens. Raises as `generate`."""
        return await self._align_batcher.align(task)

    async def _align_windows(self, tasks: list[AlignTask]) -> list[AlignResult]:
        with _vllm_errors(f"align {len(tasks)} windows"):
            results = await self._call_worker("align_windows", [task.to_wire() for task in tasks])
        return [AlignResult.from_wire(result) for result in results]

    async def _call_worker(self, method: str, *args: object) -> Any:
        """Call a method of WorkerExtension. Raises EngineDeadError, where vLLM would wait forever."""
        llm = self._loaded()
        call = asyncio.ensure_future(llm.collective_rpc(method, args=args))
        try:
            while not call.done():
                await asyncio.wait({call}, timeout=LIVENESS_CHECK_S)
                if llm.errored and not call.done():
                    raise EngineDeadError
        finally:
            call.cancel()
        (result,) = call.result()
        return result

    def _loaded(self) -> AsyncLLM:
        if self._llm is None:
            raise Unavailable("The server is shutting down." if self._is_stopped else "The model is not loaded.")
        return self._llm


@contextlib.contextmanager
def _vllm_errors(action: str) -> Iterator[None]:
    """Raises vLLM's errors as ours: Unavailable where its process is dead, else InternalError."""
    try:
        yield
    except EngineDeadError as error:
        raise Unavailable("The engine is dead: vLLM's process has died.", code=ENGINE_DEAD) from error
    except Unavailable:
        raise
    except Exception as error:
        logger.exception("vLLM failed to %s", action)
        raise InternalError(
            "The engine failed on this recording. Try again; if it happens again, report it."
        ) from error


def _engine_input(slot: AudioSlot, prompt: Sequence[int], request_id: str) -> dict[str, object]:
    """A request as vLLM's own preprocessing makes it, which would add a start token and compute features."""
    field = MultiModalBatchedField()
    item = MultiModalKwargsItem(
        {
            # Plain numbers pass for tensors in vLLM, and are serialized faster.
            SLOT: MultiModalFieldElem(data=slot.index, field=field),
            SCALE: MultiModalFieldElem(data=slot.scale, field=field),
        }
    )
    decoder = mm_input(
        prompt_token_ids=list(prompt),
        mm_kwargs=MultiModalKwargsItems({MODALITY: [item]}),
        mm_hashes={MODALITY: [request_id]},
        mm_placeholders={MODALITY: [PlaceholderRange(offset=0, length=N_AUDIO_POSITIONS)]},
    )
    return {"type": "enc_dec", "encoder_prompt": tokens_input([0] * N_AUDIO_POSITIONS), "decoder_prompt": decoder}

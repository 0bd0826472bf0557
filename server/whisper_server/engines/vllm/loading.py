"""Settings and checkpoint → the GPU engine, loaded and warm."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from whisper_server.engines.checkpoint import require_language
from whisper_server.engines.gpu.dtw import warm_up
from whisper_server.engines.gpu.model_facts import ModelShape
from whisper_server.engines.gpu.model_files import read_model_files
from whisper_server.engines.gpu.number_formats import Gpu
from whisper_server.engines.vllm.device import CPU
from whisper_server.engines.vllm.engine_args import set_environment
from whisper_server.engines.vllm.engine_config import EngineConfig, RequestedConfig, cpu_config, gpu_config
from whisper_server.errors import StartError
from whisper_server.settings import Settings
from whisper_server.whisper.engine_protocol import Engine
from whisper_server.whisper.tokens import WhisperTokenizer

logger = logging.getLogger(__name__)

MAX_SOCKET_FOLDER_CHARACTERS = 107 - 1 - 36
"""A socket's address holds 107 characters; vLLM names its sockets by UUIDs."""


async def load_vllm(settings: Settings, folder: Path, gpu: Gpu | None) -> tuple[Engine, WhisperTokenizer]:
    """Load the checkpoint in `folder` on the GPU, or on vLLM's CPU build without one. Raises StartError."""
    if settings.beam_size > 1:
        raise StartError(
            f"BEAM_SIZE: vLLM decodes without beams, and BEAM_SIZE is {settings.beam_size}; set it to 1, "
            "or set ENGINE=ctranslate2"
        )
    if settings.vllm_use_flashinfer:
        logger.warning("VLLM_USE_FLASHINFER: has no effect, this server samples by Whisper's rules; leave it at 0")
    files = await asyncio.to_thread(read_model_files, folder)
    require_language(settings.language_force, files.tokenizer)
    config = _engine_config(settings, files.shape, gpu)
    temporary = _socket_folder()
    set_environment(on_cpu=gpu is None, temporary=Path(temporary.name))

    def new_engine() -> Engine:
        # Imported here: it takes seconds, and vLLM is not installed everywhere.
        from whisper_server.engines.vllm.engine import VllmConfig, VllmEngine

        device = CPU if gpu is None else gpu.name
        return VllmEngine(VllmConfig(settings.model_id, files, config, device, temporary))

    async with AsyncExitStack() as undo:
        undo.callback(temporary.cleanup)
        engine = await asyncio.to_thread(new_engine)
        undo.push_async_callback(engine.stop)
        await asyncio.gather(engine.start(), asyncio.to_thread(warm_up))
        undo.pop_all()
    return engine, files.tokenizer


def _socket_folder() -> TemporaryDirectory[str]:
    """A folder for vLLM's sockets, with a path short enough for their addresses. Raises StartError."""
    temporary = TemporaryDirectory(prefix="whisper-server-vllm-")
    if len(temporary.name) > MAX_SOCKET_FOLDER_CHARACTERS:
        temporary.cleanup()
        raise StartError(
            f"TMPDIR: {Path(temporary.name).parent} is too long for the names of the sockets that vLLM makes there; "
            f"set it to a folder of at most {MAX_SOCKET_FOLDER_CHARACTERS - len(Path(temporary.name).name) - 1} characters"
        )
    return temporary


def _engine_config(settings: Settings, shape: ModelShape, gpu: Gpu | None) -> EngineConfig:
    requested = RequestedConfig(
        dtype=settings.dtype,
        kv_cache_dtype=settings.vllm_kv_cache_dtype,
        attention_backend=settings.vllm_attention_backend,
        max_num_batched_tokens=settings.vllm_max_num_batched_tokens,
        memory_utilization=settings.vllm_gpu_memory_utilization,
    )
    return cpu_config(requested) if gpu is None else gpu_config(gpu, shape, requested)

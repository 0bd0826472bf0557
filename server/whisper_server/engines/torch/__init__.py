"""The engine in plain torch: one process per GPU, static caches, CUDA graphs; of compiled kernels two or three, by Triton.

`engine` and `window` run in the server's process and never import torch. `wire` is what crosses to the engine's process,
where `worker` runs `scheduling`, `decoding`, `aligning`, `sampler`, `network` and `weights`.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path

from whisper_runtime.choices import KvCacheDType, LinearDType
from whisper_server.engines.checkpoint import require_language
from whisper_server.engines.gpu.model_files import read_model_files
from whisper_server.engines.torch.engine import TorchConfig, TorchEngine
from whisper_server.errors import StartError
from whisper_server.settings import Settings
from whisper_server.whisper.engine_protocol import Engine
from whisper_server.whisper.tokens import WhisperTokenizer


async def load_torch(settings: Settings, folder: Path) -> tuple[Engine, WhisperTokenizer]:
    """Load the checkpoint in `folder` on the GPU, or on the CPU where there is none. Raises StartError."""
    if settings.beam_size > 1:
        raise StartError(
            f"BEAM_SIZE: the torch engine decodes without beams, and BEAM_SIZE is {settings.beam_size}; set it to 1, "
            "or set ENGINE=ctranslate2"
        )
    if find_spec("torch") is None:
        raise StartError(
            "ENGINE: torch is not installed; install whisper-server[torch], or set ENGINE to auto or ctranslate2"
        )
    files = await asyncio.to_thread(read_model_files, folder)
    require_language(settings.language_force, files.tokenizer)
    engine = TorchEngine(
        TorchConfig(
            settings.model_id,
            files,
            dtype=settings.dtype,
            memory_utilization=settings.vllm_gpu_memory_utilization,
            n_threads=settings.cpu_threads,
            fp8_encoder=settings.torch_linear_dtype is LinearDType.FP8,
            fp8_cache=settings.vllm_kv_cache_dtype is KvCacheDType.FP8,
        )
    )
    async with AsyncExitStack() as undo:
        undo.push_async_callback(engine.stop)
        await engine.start()
        undo.pop_all()
    return engine, files.tokenizer

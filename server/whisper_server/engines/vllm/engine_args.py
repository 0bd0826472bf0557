"""EngineConfig and model → the options of vLLM's engine, and the variables that vLLM reads from the environment.

The one place that knows the names of vLLM's options. Those that the installed version does not have are left
out, so that 0.26 and its successors start from the same config.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from whisper_server.engines.vllm.engine_config import EngineConfig
from whisper_server.engines.vllm.model_files import ModelFiles
from whisper_server.errors import StartError

WORKER_EXTENSION = "whisper_server.engines.vllm.worker.extension.AlignmentExtension"
LOGITS_PROCESSOR = "whisper_server.engines.vllm.worker.v1_logits_processor:WhisperLogitsProcessor"
SCHEDULERS = "whisper_server.engines.vllm.worker.scheduler"
CPU_CACHE_BYTES = 1024**3
IN_ONE_PROCESS = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
"""As on a GPU. Called by its short name, the CPU build would give the model a process of its own: 63 s to start instead of 40."""


def engine_args(files: ModelFiles, config: EngineConfig, audio_pool: dict[str, Any], *, on_cpu: bool) -> dict[str, Any]:
    """For vLLM's AsyncEngineArgs; `audio_pool` tells vLLM's process where the windows lie."""
    options: dict[str, Any] = {
        "model": str(files.folder),
        "dtype": config.dtype,
        "kv_cache_dtype": config.kv_cache_dtype,
        "max_model_len": files.shape.n_text_positions,
        "max_num_batched_tokens": config.max_num_batched_tokens,
        "max_num_seqs": config.max_num_seqs,
        "gpu_memory_utilization": config.memory_utilization,
        "enforce_eager": not config.cuda_graph_sizes,
        "limit_mm_per_prompt": {"audio": 1},
        "additional_config": files.vocabulary.to_config() | audio_pool,
        "worker_extension_cls": WORKER_EXTENSION,
        "scheduler_cls": f"{SCHEDULERS}.{'WhisperScheduler' if on_cpu else 'AsyncWhisperScheduler'}",
        "async_scheduling": not on_cpu,
        # What is chosen and how likely it was is the rules' business alone: vLLM hands on what they leave.
        "logprobs_mode": "processed_logits",
        "generation_config": "vllm",
        "mm_processor_cache_gb": 0,
        "disable_log_stats": True,
        "seed": 0,
    }
    if config.attention_backend:
        options["attention_config"] = {"backend": config.attention_backend}
    if config.cuda_graph_sizes:
        options["cudagraph_capture_sizes"] = list(config.cuda_graph_sizes)
    if on_cpu:
        options |= {
            "logits_processors": [LOGITS_PROCESSOR],
            "kv_cache_memory_bytes": CPU_CACHE_BYTES,
            "distributed_executor_backend": IN_ONE_PROCESS,
        }
    return options


def known_args(options: dict[str, Any], arguments: type[Any]) -> dict[str, Any]:
    """Those of `options` that the installed vLLM has."""
    known = {field.name for field in dataclasses.fields(arguments)}
    return {name: value for name, value in options.items() if name in known}


def set_import_environment(cache: Path) -> None:
    """Before vLLM is imported for the first time: it then sets up its log, and torch makes a folder for what it compiles.

    Raises StartError where `cache` cannot be written.
    """
    compiled = cache / "torchinductor"
    try:
        compiled.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(
            f"MODEL_CACHE_DIR: {compiled} cannot be made: {error.strerror}; set it to a folder that can be written"
        ) from error
    os.environ |= {
        "VLLM_CONFIGURE_LOGGING": "0",  # its lines go where the server's go, in the server's format
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CACHE_ROOT": str(cache / "vllm"),
        "TORCHINDUCTOR_CACHE_DIR": str(compiled),
    }


def set_environment(*, on_cpu: bool, temporary: Path) -> None:
    """Before vLLM's processes start, which inherit it. Their sockets go to `temporary`."""
    os.environ |= {
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a forked process would share the server's threads and sockets
        "VLLM_USE_FLASHINFER_SAMPLER": "0",  # the sampler is ours
        "VLLM_USE_V2_MODEL_RUNNER": str(int(not on_cpu)),
        "VLLM_RPC_BASE_PATH": str(temporary),
    }
    if on_cpu:
        os.environ |= {"TORCHDYNAMO_DISABLE": "1"}

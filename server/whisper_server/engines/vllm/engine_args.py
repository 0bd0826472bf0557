"""Engine config and model → vLLM's engine arguments, and the variables that vLLM reads from the environment.

The only module that knows the names of vLLM's arguments. Those that the installed version does not have are left out,
so that 0.26 and its successors start from the same config.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from whisper_server.engines.gpu.model_files import ModelFiles
from whisper_server.engines.vllm.engine_config import EngineConfig
from whisper_server.engines.vllm.wire import vocabulary_to_config
from whisper_server.errors import StartError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

WORKER_EXTENSION = "whisper_server.engines.vllm.worker.extension.WorkerExtension"
LOGITS_PROCESSOR = "whisper_server.engines.vllm.worker.v1_logits_processor:WhisperLogitsProcessor"
SCHEDULERS = "whisper_server.engines.vllm.worker.scheduler"
CPU_CACHE_BYTES = 1024**3
UNIPROC_EXECUTOR = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
"""The executor that GPUs use. By its short name (`uni`), the CPU build would start a second process for the model: it
would be ready after 63 s instead of 40."""


def engine_args(
    files: ModelFiles, config: EngineConfig, audio_pool: Mapping[str, object], *, on_cpu: bool
) -> dict[str, object]:
    """For vLLM's AsyncEngineArgs; `audio_pool` is the config of the SharedAudioPool."""
    args: dict[str, object] = {
        "model": str(files.folder),
        "dtype": config.dtype,
        "kv_cache_dtype": config.kv_cache_dtype,
        "max_model_len": files.shape.n_text_positions,
        "max_num_batched_tokens": config.max_num_batched_tokens,
        "max_num_seqs": config.max_num_seqs,
        "gpu_memory_utilization": config.memory_utilization,
        "enforce_eager": not config.cuda_graph_sizes,
        "limit_mm_per_prompt": {"audio": 1},
        "additional_config": {**vocabulary_to_config(files.vocabulary), **audio_pool},
        "worker_extension_cls": WORKER_EXTENSION,
        "scheduler_cls": f"{SCHEDULERS}.{'WhisperScheduler' if on_cpu else 'AsyncWhisperScheduler'}",
        "async_scheduling": not on_cpu,
        # Our sampler chooses the token and its log-probability; vLLM returns the row of logits as the sampler left it.
        "logprobs_mode": "processed_logits",
        "generation_config": "vllm",
        "mm_processor_cache_gb": 0,
        "disable_log_stats": True,
        "seed": 0,
    }
    if config.attention_backend:
        args["attention_config"] = {"backend": config.attention_backend}
    if config.cuda_graph_sizes:
        args["cudagraph_capture_sizes"] = list(config.cuda_graph_sizes)
    if on_cpu:
        args |= {
            "logits_processors": [LOGITS_PROCESSOR],
            "kv_cache_memory_bytes": CPU_CACHE_BYTES,
            "distributed_executor_backend": UNIPROC_EXECUTOR,
        }
    return args


def known_args(args: Mapping[str, object], arguments: type[DataclassInstance]) -> dict[str, object]:
    """Those of `args` that the installed vLLM has."""
    known = {field.name for field in dataclasses.fields(arguments)}
    return {name: value for name, value in args.items() if name in known}


def set_import_environment(cache: Path) -> None:
    """Call it before the first import of vLLM, which sets up its log, and torch its folder for compiled code.

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
        "VLLM_CONFIGURE_LOGGING": "0",  # its records go to the server's log, in the server's format
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CACHE_ROOT": str(cache / "vllm"),
        "TORCHINDUCTOR_CACHE_DIR": str(compiled),
    }


def set_environment(*, on_cpu: bool, temporary: Path) -> None:
    """Call it before vLLM's processes start: they inherit the environment. Their sockets go to `temporary`."""
    os.environ |= {
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a forked process would share the server's threads and sockets
        "VLLM_USE_FLASHINFER_SAMPLER": "0",  # the sampler is ours
        "VLLM_USE_V2_MODEL_RUNNER": str(int(not on_cpu)),
        "VLLM_RPC_BASE_PATH": str(temporary),
    }
    if on_cpu:
        os.environ |= {"TORCHDYNAMO_DISABLE": "1"}

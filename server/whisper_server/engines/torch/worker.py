"""The engine's process: loads the model, answers tasks until the server sends Stop or ends."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection

import torch

from whisper_runtime.capability import ROW_ATTENTION
from whisper_runtime.choices import EngineName
from whisper_server.engines.gpu.log_mel import BatchLogMel, SharedSamples
from whisper_server.engines.gpu.number_formats import Gpu, dtype_on, require_capability, require_fp8
from whisper_server.engines.gpu.shared_audio import SharedAudioPool
from whisper_server.engines.torch.aligning import Aligner
from whisper_server.engines.torch.batches import Options
from whisper_server.engines.torch.decoding import Decoding
from whisper_server.engines.torch.residual import with_adding_products
from whisper_server.engines.torch.scheduling import Scheduler
from whisper_server.engines.torch.weights import Weights, load_weights
from whisper_server.engines.torch.wire import (
    MAX_WINDOWS,
    Answer,
    Cancel,
    Place,
    Ready,
    Request,
    StartFailed,
    Stop,
    WorkerConfig,
)
from whisper_server.errors import StartError

GIB = 1024**3
RUNTIME_BYTES = 3 * GIB
"""CUDA's context, graphs, and what a step and the encoder hold at a time."""
N_CPU_SLOTS = 16
SWITCH_INTERVAL_S = 0.0005
"""Threads that find word times ask for Python's lock a few times each, and the thread that drives the GPU lets go of it for
microseconds only: with Python's 5 ms each time, a window would wait for 20 ms."""
ANSWERS_PER_MESSAGE = 2
"""The server reads them on its event loop, as many as it handles in an iteration or two. Up to 16 KiB are written at once, so it never
waits for the rest of a message: a text of 224 tokens with its alignment takes 7 KB at most."""
DTYPES = {"half": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def run(connection: Connection, config: WorkerConfig) -> None:
    """The process's main function."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # the server drains, then says Stop
    try:
        with torch.inference_mode():
            scheduler, ready = _load(config)
            connection.send(ready)
            _serve(connection, scheduler)
    except StartError as error:
        connection.send(StartFailed(str(error)))
    except torch.OutOfMemoryError as error:
        connection.send(StartFailed(_too_little_memory(config, " ".join(str(error).split())[:200])))


def _load(config: WorkerConfig) -> tuple[Scheduler, Ready]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and config.n_threads:
        torch.set_num_threads(config.n_threads)
    gpu = _gpu(device)
    dtype = dtype_on(gpu, EngineName.TORCH, config.dtype)
    if config.fp8_encoder:
        _check_fp8(gpu, "TORCH_LINEAR_DTYPE", dtype)
    if config.fp8_cache:
        _check_fp8(gpu, "VLLM_KV_CACHE_DTYPE", dtype)
    torch.backends.cuda.enable_flash_sdp(enabled=True)
    torch.backends.cudnn.allow_tf32 = False  # convolutions in float32 would round to 10 bits
    weights = load_weights(config.folder, device, DTYPES[dtype])
    if config.fp8_encoder:
        from whisper_server.engines.torch.fp8 import with_fp8_encoder  # Triton, which a CPU does not have

        weights = with_fp8_encoder(weights)
    is_recent = gpu is not None and gpu.capability >= ROW_ATTENTION
    options = Options(row_attention=is_recent and _has_compiler(), fp8_cache=config.fp8_cache)
    if gpu is None or (options.row_attention and dtype != "half"):
        weights = with_adding_products(weights, encoder=not config.fp8_encoder)
    n_slots = _n_slots(config, weights, gpu)
    decoding = Decoding(weights, config.vocabulary, n_slots, config.shape.n_text_positions, options=options)
    pool = SharedAudioPool.opened(config.audio_pool_pid, config.audio_pool_descriptor, MAX_WINDOWS)
    windows = SharedSamples(pool, device)
    log_mel = BatchLogMel(weights.n_mels, device)

    def features(places: Sequence[Place]) -> torch.Tensor:
        samples, scales = windows.load([place.slot for place in places], [place.scale for place in places])
        return log_mel(samples, scales)

    # A thread of it compiles during the captures.
    aligner = Aligner(weights, decoding, config.vocabulary, config.alignment_heads)
    decoding.capture()
    aligner.capture()
    return Scheduler(decoding, aligner, features), Ready(gpu.name if gpu else "cpu", dtype, n_slots)


def _gpu(device: torch.device) -> Gpu | None:
    """None on a CPU. Raises StartError for a GPU that is too old."""
    if device.type == "cpu":
        return None
    properties = torch.cuda.get_device_properties(device)
    gpu = Gpu(properties.name, (properties.major, properties.minor), properties.total_memory)
    require_capability(gpu, EngineName.TORCH)
    return gpu


def _check_fp8(gpu: Gpu | None, variable: str, dtype: str) -> None:
    """Raises StartError where FP8 cannot be computed with."""
    require_fp8(gpu, EngineName.TORCH, variable)
    if not _has_compiler():
        raise StartError(
            f"{variable}: fp8 needs gcc, with which Triton launches its kernels; install it, or set it to auto"
        )
    if dtype != "bfloat16":
        raise StartError(f"{variable}: fp8 goes with DTYPE=bfloat16 only, and DTYPE is {dtype}; set it to auto")


def _has_compiler() -> bool:
    """Whether Triton finds what it builds the launchers of its kernels with."""
    return any(map(shutil.which, ("gcc", "clang")))


def _n_slots(config: WorkerConfig, weights: Weights, gpu: Gpu | None) -> int:
    """Windows that the device's memory holds besides the model. Raises StartError for less than one."""
    if gpu is None:
        return N_CPU_SLOTS
    n_bytes = weights.token_embedding.element_size()
    left = gpu.memory_bytes * config.memory_utilization - RUNTIME_BYTES - torch.cuda.memory_allocated(weights.device)
    row_bytes = config.shape.cache_bytes(n_bytes, 1 if config.fp8_cache else n_bytes)
    n_slots = min(MAX_WINDOWS, int(left // row_bytes) - 1)  # one row is spare
    if n_slots < 1:
        raise StartError(_too_little_memory(config, f"{gpu.memory_bytes / GIB:.1f} GiB"))
    return n_slots


def _too_little_memory(config: WorkerConfig, found: str) -> str:
    return (
        f"MODEL_ID: the model in {config.folder} does not fit into the GPU's memory ({found}); raise "
        f"VLLM_GPU_MEMORY_UTILIZATION (now {config.memory_utilization:g}), or set a smaller model"
    )


def _serve(connection: Connection, scheduler: Scheduler) -> None:
    requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, requests), name="receive", daemon=True).start()
    while True:
        while not requests.empty() or not scheduler.has_work:
            request = requests.get()
            if isinstance(request, Stop):
                return
            if isinstance(request, Cancel):
                scheduler.cancel(request.task_id)
            else:
                scheduler.add(request)
        answers: list[Answer] = scheduler.run_once()
        for first in range(0, len(answers), ANSWERS_PER_MESSAGE):
            connection.send(tuple(answers[first : first + ANSWERS_PER_MESSAGE]))


def _receive(connection: Connection, requests: queue.SimpleQueue[Request]) -> None:
    try:
        while True:
            batch: tuple[Request, ...] = connection.recv()
            for request in batch:
                requests.put(request)
    except (EOFError, OSError):
        os._exit(1)  # the server has ended: no request waits for an answer

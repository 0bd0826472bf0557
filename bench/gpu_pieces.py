"""Times our own parts of the GPU engine on this machine's GPU: the sampler per step, log-mel and encoder per window.

PYTHONPATH=runtime:server python bench/gpu_pieces.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from whisper_server.engines.gpu.log_mel import BatchLogMel
from whisper_server.engines.gpu.model_facts import Vocabulary
from whisper_server.engines.gpu.token_rules import step_in_place
from whisper_server.engines.vllm.wire import WhisperParams
from whisper_server.engines.vllm.worker.cuda_graphs import GraphedEncoder, GraphedStep
from whisper_server.engines.vllm.worker.encoder import encode, layer_weights
from whisper_server.engines.vllm.worker.sampler import WhisperSampler

WIDTH, N_HEADS, N_LAYERS, N_MELS, N_INNER = 1280, 20, 32, 128, 5120
VOCABULARY = Vocabulary(
    n_tokens=51866,
    endoftext=50257,
    notimestamps=50364,
    nospeech=50363,
    suppressed=tuple(range(1, 90)),
    suppressed_first=(220, 50257),
    startoftranscript=50258,
    languages=tuple(range(50259, 50359)),
)


def measured_ms(run: Callable[[], Any], *, n_runs: int = 20) -> tuple[float, float]:
    """(ms until the GPU has finished, ms until the CPU has launched the work), per run."""
    for _ in range(5):
        run()
    torch.cuda.synchronize()
    begin_s = time.perf_counter()
    for _ in range(n_runs):
        run()
    started_s = time.perf_counter()
    torch.cuda.synchronize()
    ended_s = time.perf_counter()
    return (ended_s - begin_s) / n_runs * 1000, (started_s - begin_s) / n_runs * 1000


def sampler(device: torch.device) -> None:
    for kind in ("eager", "CUDA graph"):
        for n_rows in (1, 64, 256):
            step_function = step_in_place if kind == "eager" else GraphedStep([n_rows], n_rows)
            whisper_sampler = WhisperSampler(VOCABULARY, n_rows, device, step_function=step_function)
            slots = np.arange(n_rows)
            for slot in range(n_rows):
                whisper_sampler.load(slot, WhisperParams(n_task_tokens=4, timestamps=bool(slot % 2)))
            logits = torch.randn(n_rows, VOCABULARY.n_tokens, device=device, dtype=torch.bfloat16)
            device_slots = torch.arange(n_rows, device=device)
            sample = partial(whisper_sampler.sample, logits, slots, device_slots)
            total_ms, start_ms = measured_ms(sample)
            print(
                f"sampler, {kind}, {n_rows} rows: {total_ms:.2f} ms per step ({start_ms:.2f} ms to launch)", flush=True
            )


def encoder(device: torch.device) -> None:
    def linear(n_in: int, n_out: int) -> Any:
        return torch.nn.Linear(n_in, n_out, device=device, dtype=torch.bfloat16)

    def norm() -> Any:
        return torch.nn.LayerNorm(WIDTH, device=device, dtype=torch.bfloat16)

    def layer() -> Any:
        attention = SimpleNamespace(qkv_proj=linear(WIDTH, 3 * WIDTH), out_proj=linear(WIDTH, WIDTH))
        mlp = SimpleNamespace(fc1=linear(WIDTH, N_INNER), fc2=linear(N_INNER, WIDTH))
        return SimpleNamespace(self_attn=attention, self_attn_layer_norm=norm(), final_layer_norm=norm(), mlp=mlp)

    vllm_like = SimpleNamespace(
        conv1=torch.nn.Conv1d(N_MELS, WIDTH, 3, padding=1, device=device, dtype=torch.bfloat16),
        conv2=torch.nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1, device=device, dtype=torch.bfloat16),
        embed_positions=torch.nn.Embedding(1500, WIDTH, device=device, dtype=torch.bfloat16),
        layers=[layer() for _ in range(N_LAYERS)],
        layer_norm=norm(),
    )
    log_mel = BatchLogMel(N_MELS, device)
    layers = [layer_weights(one) for one in vllm_like.layers]
    graphed = GraphedEncoder(vllm_like, N_HEADS, 8)
    for n_windows in (8, 4, 2, 1):
        samples = torch.randint(-9999, 9999, (n_windows, 480_000), dtype=torch.int16, device=device)
        scales = torch.full((n_windows,), 1e-4, device=device)
        mel_ms, _ = measured_ms(lambda s=samples, c=scales: log_mel(s, c))  # type: ignore[misc]
        features = log_mel(samples, scales).to(torch.bfloat16)
        print(f"log-mel, {n_windows} windows: {mel_ms / n_windows:.2f} ms per window", flush=True)
        kinds: dict[str, Callable[[], Any]] = {"CUDA graph": lambda f=features: graphed(f)}  # type: ignore[misc]
        for backend in (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION):

            def eagerly(f: Any = features, b: Any = backend) -> Any:
                with sdpa_kernel(b):
                    return encode(f, vllm_like, layers, N_HEADS)

            kinds[f"eager, {backend.name}"] = eagerly
        for kind, run in kinds.items():
            total_ms, start_ms = measured_ms(run, n_runs=10)
            print(
                f"encoder, {kind}, {n_windows} windows: {total_ms / n_windows:.2f} ms per window, {start_ms:.1f} ms to launch",
                flush=True,
            )


if __name__ == "__main__":
    print(torch.cuda.get_device_name())
    with torch.inference_mode():
        sampler(torch.device("cuda"))
        encoder(torch.device("cuda"))

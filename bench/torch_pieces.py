"""The torch engine's pieces alone on a GPU: its attention kernel by block size, then encoder, cache, prompts and steps of a model.

    PYTHONPATH=server:runtime python bench/torch_pieces.py large-v3 --work /tmp/work

Times are the GPU's, by CUDA events, after two runs that warm up; beside them what the host took to launch.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch_engine import checkpoint

from whisper_server.engines.gpu.model_files import ModelFiles, read_model_files
from whisper_server.engines.torch import row_attention
from whisper_server.engines.torch.batches import ENCODER_FRAMES, Options
from whisper_server.engines.torch.decoding import Decoding
from whisper_server.engines.torch.fp8 import with_fp8_encoder
from whisper_server.engines.torch.network import FP8, MAX_FP8
from whisper_server.engines.torch.weights import Weights, load_weights
from whisper_server.engines.torch.wire import DecodeTask, Place
from whisper_server.whisper.transcript import Task

DEVICE = torch.device("cuda")
N_ROWS, N_HEADS, N_POSITIONS, WIDTH = 256, 20, 1500, 64
CHOICES = ((32, 1, 1), (32, 2, 1), (64, 4, 1), (128, 4, 1), (32, 2, 3), (64, 4, 3), (64, 2, 4), (128, 4, 3))
"""Positions in a block, warps, stages."""


def timed(run: Callable[[], Any], n_runs: int = 10) -> str:
    run(), run()
    torch.cuda.synchronize()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    begun_s = time.perf_counter()
    for _ in range(n_runs):
        run()
    host_ms = (time.perf_counter() - begun_s) / n_runs * 1000
    end.record()
    torch.cuda.synchronize()
    return f"{begin.elapsed_time(end) / n_runs:.3f} ms (host {host_ms:.2f})"


def kernel() -> None:
    """256 of 257 rows in any order, as large-v3 has them, and what PyTorch takes for the first 256."""
    keys = torch.randn(N_ROWS + 1, N_HEADS, N_POSITIONS, WIDTH, device=DEVICE, dtype=torch.bfloat16)
    values, queries = torch.randn_like(keys), torch.randn(N_ROWS, N_HEADS * WIDTH, device=DEVICE, dtype=torch.bfloat16)
    key_scales, value_scales = (one.abs().amax((2, 3)).float() / MAX_FP8 for one in (keys, values))
    scales = row_attention.Scales(key_scales, value_scales)
    fp8_keys, fp8_values = (
        (one / s[:, :, None, None]).to(FP8) for one, s in ((keys, key_scales), (values, value_scales))
    )
    rows = torch.randperm(N_ROWS + 1, device=DEVICE)[:N_ROWS]
    lengths = torch.full((N_ROWS,), N_POSITIONS, device=DEVICE)
    per_head = queries.view(N_ROWS, N_HEADS, 1, WIDTH)
    exact = F.scaled_dot_product_attention(per_head.float(), keys[rows].float(), values[rows].float()).flatten(1)
    print("PyTorch", timed(lambda: F.scaled_dot_product_attention(per_head, keys[:N_ROWS], values[:N_ROWS])))
    for choice in CHOICES:
        row_attention.BLOCK, row_attention.N_WARPS, row_attention.N_STAGES = choice
        runs = (
            partial(row_attention.attend, queries, keys, values, rows, lengths),
            partial(row_attention.attend, queries, fp8_keys, fp8_values, rows, lengths, scales),
        )
        errors = [((run().float() - exact).norm() / exact.norm()).item() for run in runs]
        print(
            f"block, warps, stages {choice}: bfloat16 {timed(runs[0])}, FP8 {timed(runs[1])}, errors {errors}",
            flush=True,
        )


def pieces(weights: Weights, files: ModelFiles, *, fp8: bool) -> None:
    """With and without FP8, both of the encoder's products and of the cache."""
    name = "FP8" if fp8 else "bfloat16"
    options = Options(row_attention=True, fp8_cache=fp8)
    decoding = Decoding(weights, files.vocabulary, N_ROWS, files.shape.n_text_positions, options=options)
    features = torch.randn(16, weights.n_mels, 3000, device=DEVICE, dtype=torch.bfloat16)
    prompt, n_task = files.tokenizer.prompt_tokens("en", Task.TRANSCRIBE, previous=(), timestamps=False)
    for n_windows, n_frames in product((1, 4, 16), ENCODER_FRAMES):
        rows = list(range(n_windows))
        tasks = [DecodeTask(row, Place(row, row, 1.0), prompt, n_task, False, 0.0, 100) for row in rows]  # noqa: FBT003 - by position
        encoded = timed(partial(decoding.encode, rows, features[:n_windows, :, :n_frames]), 5)
        begun = timed(partial(decoding.begin, rows, tasks), 5)
        print(
            f"{name}, {n_windows} windows of {n_frames} frames: encoded and into the cache {encoded}, prompts {begun}",
            flush=True,
        )
    for n_rows in (32, 64, 128, 192, 256):
        step = timed(partial(decoding.step, range(n_rows), 120, sample=False))
        print(f"{name}, a step of {n_rows} rows: {step}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="+", help="turbo, large-v3")
    parser.add_argument("--work", type=Path, default=Path("/tmp/whisper-bench"))
    args = parser.parse_args()
    print(torch.cuda.get_device_name(), torch.__version__)
    with torch.inference_mode():
        kernel()
        for shape in args.shapes:
            folder = checkpoint(shape, args.work)
            files, weights = read_model_files(folder), load_weights(folder, DEVICE, torch.bfloat16)
            pieces(weights, files, fp8=False)
            pieces(with_fp8_encoder(weights), files, fp8=True)


if __name__ == "__main__":
    main()

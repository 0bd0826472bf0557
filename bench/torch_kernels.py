"""The torch engine's kernels and its residual stream beside PyTorch's functions, on random weights; ends with 1 if they differ.

    PYTHONPATH=server:runtime python bench/torch_kernels.py
    TRITON_INTERPRET=1 PYTHONPATH=server:runtime:/tmp/triton python bench/torch_kernels.py

The first on a GPU. The second without one, in Triton's interpreter (`pip install --no-deps --target /tmp/triton triton==3.6.0`), in
30 CPU seconds: it shows wrong strides, rows and masks, but no races.
"""

from __future__ import annotations

import os
import sys

import torch

from whisper_server.engines.gpu import attention
from whisper_server.engines.torch import kernels
from whisper_server.engines.torch.network import (
    Caches,
    decode_known,
    decode_rows,
    decode_step,
    encode,
    fill_cross_cache,
    logits_of,
    read_prompts,
)
from whisper_server.engines.torch.residual import with_adding_products
from whisper_server.engines.torch.weights import DecoderLayer, Layer, Linear, Norm, Weights

IS_INTERPRETED = "TRITON_INTERPRET" in os.environ
DEVICE = torch.device("cpu" if IS_INTERPRETED else "cuda")
WIDTH, N_HEADS, N_LAYERS, N_TOKENS, N_MELS, N_TEXT, N_ROWS = 128, 2, 2, 100, 8, 448, 5
N_PROMPT = 4
ROWS = (3, 0, N_ROWS, N_ROWS)
"""Two windows, and twice the spare row, which pads a batch."""
MOST = 1e-5
"""Differences, relative to the largest value. In float32 they were 6e-7 at most in the interpreter."""
MOST_FP8 = 0.15 if IS_INTERPRETED else 0.05
"""The interpreter's rounding to FP8 loses the carry: 127.99 becomes 64."""


def _random(*shape: int, scale: float = 0.1) -> torch.Tensor:
    return (torch.randn(shape) * scale).to(DEVICE)


def _linear(n_out: int, n_in: int) -> Linear:
    return Linear(_random(n_out, n_in, scale=0.05), _random(n_out, scale=0.5))


def _norm() -> Norm:
    return Norm(1 + _random(WIDTH), _random(WIDTH))


def _parts() -> tuple[Norm, Linear, Linear, Norm, Linear, Linear]:
    return (
        _norm(),
        _linear(3 * WIDTH, WIDTH),
        _linear(WIDTH, WIDTH),
        _norm(),
        _linear(4 * WIDTH, WIDTH),
        _linear(WIDTH, 4 * WIDTH),
    )


def _decoder_layer() -> DecoderLayer:
    cross = (_norm(), _linear(WIDTH, WIDTH), _linear(2 * WIDTH, WIDTH), _linear(WIDTH, WIDTH))
    return DecoderLayer(*_parts(), *cross)


def _weights() -> Weights:
    return Weights(
        n_encoder_heads=N_HEADS,
        n_decoder_heads=N_HEADS,
        n_mels=N_MELS,
        conv1=Linear(_random(WIDTH, N_MELS, 3), _random(WIDTH)),
        conv2=Linear(_random(WIDTH, WIDTH, 3), _random(WIDTH)),
        encoder_positions=_random(1500, WIDTH),
        encoder_layers=tuple(Layer(*_parts()) for _ in range(N_LAYERS)),
        encoder_norm=_norm(),
        token_embedding=_random(128, WIDTH),
        n_tokens=N_TOKENS,
        decoder_positions=_random(N_TEXT, WIDTH),
        decoder_layers=tuple(_decoder_layer() for _ in range(N_LAYERS)),
        decoder_norm=_norm(),
    )


class Comparison:
    """Of what the two ways give."""

    def __init__(self) -> None:
        self.differs = False

    def note(self, what: str, found: torch.Tensor, wanted: torch.Tensor, most: float = MOST) -> None:
        error = float((found.float() - wanted.float()).abs().max() / wanted.float().abs().max())
        is_close = error <= most  # not so for NaN
        self.differs |= not is_close
        print(f"{what}: {error:.1e}{'' if is_close else ' DIFFERS'}", flush=True)


def main() -> int:
    torch.manual_seed(0)
    compared = Comparison()
    with torch.inference_mode():
        plain = _weights()
        adding = with_adding_products(plain, encoder=True)
        features = _random(len(ROWS), N_MELS, 3000, scale=1)
        states = encode(plain, features)
        compared.note("encoder", encode(adding, features), states)
        _compare_decoder(compared, plain, adding, states)
        values, shift, norm = _random(2, 3, WIDTH, scale=1)[:, 1], _random(WIDTH), plain.encoder_norm
        wanted = torch.nn.functional.layer_norm(values + shift, (WIDTH,), norm.weight, norm.bias)
        compared.note("norm of rows that are apart", kernels.normalize(values, shift, norm.weight, norm.bias), wanted)
        weights, counts = _random(3, 2, 4, 600), torch.tensor([[600, 0], [3, 0], [77, 0]], device=DEVICE)[:, 0]
        for index, (found, expected) in enumerate(
            zip(kernels.median_mean(weights, counts), attention.median_mean(weights, counts), strict=True)
        ):
            n_positions = int(counts[index])
            compared.note("median", found[:, :n_positions], expected[:, :n_positions])
    return int(compared.differs)


def _compare_decoder(compared: Comparison, plain: Weights, adding: Weights, states: torch.Tensor) -> None:
    rows = torch.tensor(ROWS, device=DEVICE)
    caches = Caches.allocate(plain, N_ROWS + 1, N_TEXT, fp8=False)
    by_kernel = Caches.allocate(plain, N_ROWS + 1, N_TEXT, fp8=False)
    fp8 = Caches.allocate(plain, N_ROWS + 1, N_TEXT, fp8=True)
    fill_cross_cache(plain, caches, states, rows, by_kernel=False)
    for filled in (by_kernel, fp8):
        fill_cross_cache(plain, filled, states, rows, by_kernel=True)
    used = rows[:2]
    for index in range(N_LAYERS):
        for wanted, found, quantized in zip(
            caches.cross(index, used), by_kernel.cross(index, used), fp8.cross(index, used), strict=True
        ):
            compared.note("cross-attention cache", found, wanted, 0.0)
            compared.note("cross-attention cache in FP8", quantized, wanted, MOST_FP8)

    # As `Decoding` has them: columns of a wider tensor.
    numbers = torch.randint(N_TOKENS, (len(ROWS), 1 + N_TEXT), device=DEVICE)
    numbers[:, 0] = rows
    strided, tokens = numbers[:, 0], numbers[:, 1:][:, :N_PROMPT]
    hidden = read_prompts(plain, caches, strided, tokens, by_rows=False)[:2]
    compared.note(
        "prompts",
        logits_of(adding, read_prompts(adding, by_kernel, strided, tokens, by_rows=True)[:2]),
        logits_of(plain, hidden),
    )
    compared.note("prompts, FP8", read_prompts(plain, fp8, strided, tokens, by_rows=True)[:2], hidden, MOST_FP8)

    heads = [torch.tensor([], dtype=torch.int64, device=DEVICE), torch.tensor([1, 0], device=DEVICE)]
    known, scores = decode_known(plain, caches, used, tokens[:2], keep=False, heads=heads)
    again, other_scores = decode_known(adding, by_kernel, used, tokens[:2], keep=False, heads=heads)
    assert scores is not None, "there are heads"
    assert other_scores is not None, "there are heads"
    compared.note("alignment", logits_of(adding, again), logits_of(plain, known))
    compared.note("alignment heads", other_scores, scores)

    new, positions = torch.randint(N_TOKENS, (N_ROWS + 1,), device=DEVICE), torch.zeros_like(rows.new_empty(N_ROWS + 1))
    positions[used] = N_PROMPT
    n_first = max(ROWS[:2]) + 1
    wanted = decode_step(plain, caches, new[:n_first], positions[:n_first], 64)[used]
    compared.note("step", decode_step(adding, by_kernel, new[:n_first], positions[:n_first], 64)[used], wanted)
    by_rows = logits_of(adding, decode_rows(adding, by_kernel, new[rows], positions[rows], rows))
    compared.note("step of rows", by_rows[:2], wanted)
    fp8_rows = logits_of(plain, decode_rows(plain, fp8, new[rows], positions[rows], rows))
    compared.note("step of rows, FP8", fp8_rows[:2], wanted, MOST_FP8)


if __name__ == "__main__":
    sys.exit(main())

"""Matrix products of the encoder in FP8 (e4m3): half the time of bfloat16's from Ada (compute capability 8.9) on.

Each row of the activations and each row of the weights has a scale of its own, found as they are: nothing is calibrated.
The kernel that scales and rounds a row computes the layer normalization or GELU before it too. Triton compiles it when the
model is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import triton
import triton.language as tl

from whisper_server.engines.torch.network import FP8, MAX_FP8
from whisper_server.engines.torch.weights import Layer, Linear, Norm, Weights

MAX_PIECE = 1024
"""Of a row, at a time."""


@triton.jit
def _to_fp8(
    values_at,
    fp8_at,
    scales_at,
    weight_at,
    bias_at,
    width,
    N_PIECES: tl.constexpr,
    PIECE: tl.constexpr,
    NORM: tl.constexpr,
    GELU: tl.constexpr,
) -> None:
    """One row, in pieces, which the cache gives again in each pass: widths are no powers of two, as blocks of Triton are."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, PIECE)
    mean, deviation = 0.0, 1.0
    if NORM:
        sums, squares = tl.zeros((PIECE,), tl.float32), tl.zeros((PIECE,), tl.float32)
        for piece in tl.static_range(N_PIECES):
            here = piece * PIECE + at
            values = tl.load(values_at + row * width + here).to(tl.float32)
            sums += values
            squares += values * values
        mean = tl.sum(sums, 0) / width
        deviation = tl.sqrt(tl.sum(squares, 0) / width - mean * mean + 1e-5)
    largest = tl.zeros((PIECE,), tl.float32)
    for piece in tl.static_range(N_PIECES):
        here = piece * PIECE + at
        values = _prepared(values_at, weight_at, bias_at, row, here, width, mean, deviation, NORM, GELU)
        largest = tl.maximum(largest, tl.abs(values))
    scale = tl.maximum(tl.max(largest, 0) / 448.0, 1e-12)
    factor = 1.0 / scale
    for piece in tl.static_range(N_PIECES):
        here = piece * PIECE + at
        values = _prepared(values_at, weight_at, bias_at, row, here, width, mean, deviation, NORM, GELU)
        tl.store(fp8_at + row * width + here, (values * factor).to(tl.float8e4nv))
    tl.store(scales_at + row, scale)


@triton.jit
def _prepared(values_at, weight_at, bias_at, row, here, width, mean, deviation, NORM: tl.constexpr, GELU: tl.constexpr):
    values = tl.load(values_at + row * width + here).to(tl.float32)
    if NORM:
        weight = tl.load(weight_at + here).to(tl.float32)
        bias = tl.load(bias_at + here).to(tl.float32)
        values = (values - mean) / deviation * weight + bias
    if GELU:  # by tanh, as cuBLAS does for bfloat16: tanh(x) = 2 sigmoid(2 x) - 1
        values = values * tl.sigmoid(1.5957691216057308 * (values + 0.044715 * values * values * values))
    return values


@dataclass(frozen=True)
class Fp8Linear(Linear):
    """A matrix product in FP8; results are in bfloat16."""

    scales: torch.Tensor
    """(1, output)."""

    @classmethod
    def of(cls, linear: Linear) -> Fp8Linear:
        scales = linear.weight.float().abs().amax(1, keepdim=True).clamp(min=1e-12) / MAX_FP8
        weight = (linear.weight.float() / scales).to(FP8)
        return cls(weight, linear.bias, scales.t().contiguous())

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        return self._product(values)

    def after_norm(self, norm: Norm, values: torch.Tensor) -> torch.Tensor:
        return self._product(values, norm=norm)

    def added_feed_forward(self, first: Linear, norm: Norm, stream: torch.Tensor) -> torch.Tensor:
        return stream + self._product(first.after_norm(norm, stream), gelu=True)

    def _product(self, values: torch.Tensor, *, norm: Norm | None = None, gelu: bool = False) -> torch.Tensor:
        width = values.shape[-1]
        rows = values.reshape(-1, width)
        fp8 = torch.empty(rows.shape, dtype=FP8, device=rows.device)
        scales = torch.empty((len(rows), 1), dtype=torch.float32, device=rows.device)
        weight, bias = (norm.weight, norm.bias) if norm else (rows, rows)
        piece = min(MAX_PIECE, width & -width)  # the largest power of two that it is a multiple of
        _to_fp8[(len(rows),)](
            rows,
            fp8,
            scales,
            weight,
            bias,
            width,
            width // piece,
            piece,
            NORM=norm is not None,
            GELU=gelu,
            num_warps=max(1, piece // 256),
        )
        product = torch._scaled_mm(  # noqa: SLF001 - no public name
            fp8, self.weight.t(), scales, self.scales, bias=self.bias, out_dtype=values.dtype, use_fast_accum=True
        )
        return product.view(*values.shape[:-1], -1)


def with_fp8_encoder(weights: Weights) -> Weights:
    """The same weights with the encoder's matrix products in FP8."""

    def converted(layer: Layer) -> Layer:
        return replace(
            layer,
            qkv=Fp8Linear.of(layer.qkv),
            out=Fp8Linear.of(layer.out),
            mlp_in=Fp8Linear.of(layer.mlp_in),
            mlp_out=Fp8Linear.of(layer.mlp_out),
        )

    return replace(weights, encoder_layers=tuple(map(converted, weights.encoder_layers)))

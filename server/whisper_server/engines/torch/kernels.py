"""Kernels in Triton that do in one pass what PyTorch does in several: filling the cross-attention cache, layer normalization, and the
median filter of word times.

Filling: keys and values of encoded windows into their rows, as they are or in FP8. PyTorch takes a copy to reorder the heads and an
`index_copy_`, for FP8 a maximum, a division and a cast too: 5 ms of an H200 for 16 windows of large-v3, in FP8 29 ms, where the matrix
products themselves take 8; this kernel takes 2 (bench/RESULTS.md).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

BLOCK = 128
"""Positions at a time."""
N_FILL_WARPS = 8
N_NORM_WARPS = 4
MEDIAN_BLOCK = 512
"""Positions at a time."""


@triton.jit
def _fill(
    products_at,
    keys_at,
    values_at,
    scales_at,
    rows_at,
    n_rows,
    n_positions,
    SCALED: tl.constexpr,
    N_HEADS: tl.constexpr,
    POSITIONS: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    """One head of a window's keys (part 0) or values (part 1)."""
    head, window, part = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2)
    row = tl.load(rows_at + window).to(tl.int64)
    column, position = tl.arange(0, WIDTH), tl.arange(0, POSITIONS)
    stride = 2 * N_HEADS * WIDTH
    from_at = products_at + window * n_positions * stride + (part * N_HEADS + head) * WIDTH
    if part == 0:
        to_at = keys_at + (row * N_HEADS + head) * n_positions * WIDTH
    else:
        to_at = values_at + (row * N_HEADS + head) * n_positions * WIDTH
    factor = 1.0
    if SCALED:
        largest = tl.zeros((POSITIONS, WIDTH), tl.float32)
        for first in range(0, n_positions, POSITIONS):
            at = first + position[:, None]
            some = tl.load(from_at + at * stride + column[None, :], mask=at < n_positions, other=0.0).to(tl.float32)
            largest = tl.maximum(largest, tl.abs(some))
        scale = tl.maximum(tl.max(tl.max(largest, 1), 0) / 448.0, 1e-12)
        tl.store(scales_at + (part * n_rows + row) * N_HEADS + head, scale)
        factor = 1.0 / scale
    for first in range(0, n_positions, POSITIONS):
        at = first + position[:, None]
        some = tl.load(from_at + at * stride + column[None, :], mask=at < n_positions, other=0.0)
        if SCALED:
            some = some.to(tl.float32) * factor
        tl.store(to_at + at * WIDTH + column[None, :], some.to(to_at.dtype.element_ty), mask=at < n_positions)


def fill(
    products: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scales: torch.Tensor | None, rows: torch.Tensor
) -> None:
    """Products (window, position, keys and values) into `rows` of a layer's caches (row, head, position, head width).

    `scales` are those of a cache in FP8: (keys and values, row, head).
    """
    n_rows, n_heads, n_positions, width = keys.shape
    _fill[(n_heads, len(products), 2)](
        products,
        keys,
        values,
        products if scales is None else scales,
        rows,
        n_rows,
        n_positions,
        SCALED=scales is not None,
        N_HEADS=n_heads,
        POSITIONS=BLOCK,
        WIDTH=width,
        num_warps=N_FILL_WARPS,
    )


@triton.jit
def _normalize(values_at, shift_at, weight_at, bias_at, out_at, width, BLOCK: tl.constexpr) -> None:
    """One row."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < width
    values = tl.load(values_at + row * width + at, mask=inside, other=0.0).to(tl.float32)
    values += tl.load(shift_at + at, mask=inside, other=0.0)
    mean = tl.sum(values, 0) / width
    centred = tl.where(inside, values - mean, 0.0)
    deviation = tl.sqrt(tl.sum(centred * centred, 0) / width + 1e-5)
    weight = tl.load(weight_at + at, mask=inside, other=0.0).to(tl.float32)
    bias = tl.load(bias_at + at, mask=inside, other=0.0).to(tl.float32)
    normalized = centred / deviation * weight + bias
    tl.store(out_at + row * width + at, normalized.to(out_at.dtype.element_ty), mask=inside)


def normalize(values: torch.Tensor, shift: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Values (…, width) with `shift` (width,), in float32, added to each row: normalized, as `torch.nn.functional.layer_norm` does."""
    values = values.contiguous()
    width = values.shape[-1]
    out = torch.empty_like(values)
    block = triton.next_power_of_2(width)
    _normalize[(values.numel() // width,)](values, shift, weight, bias, out, width, BLOCK=block, num_warps=N_NORM_WARPS)
    return out


@triton.jit
def _neighbours(row_at, at, shift, last, n_columns):
    """Values `shift` positions further, reflected at both ends."""
    near = tl.abs(at + shift)
    near = tl.maximum(tl.where(near > last, 2 * last - near, near), 0)
    return tl.load(row_at + near, mask=at < n_columns, other=0.0)


@triton.jit
def _ordered(first, second):
    return tl.minimum(first, second), tl.maximum(first, second)


@triton.jit
def _median_mean(weights_at, n_positions_at, out_at, n_heads, n_tokens, n_columns, BLOCK: tl.constexpr) -> None:
    """One token of a window."""
    token, window = tl.program_id(0), tl.program_id(1).to(tl.int64)
    last = tl.load(n_positions_at + window).to(tl.int32) - 1
    for start in range(0, n_columns, BLOCK):
        at = start + tl.arange(0, BLOCK)
        total = tl.zeros((BLOCK,), tl.float32)
        for head in range(n_heads):
            row_at = weights_at + ((window * n_heads + head) * n_tokens + token) * n_columns
            middle = _neighbours(row_at, at, 0, last, n_columns)
            a, b = _ordered(_neighbours(row_at, at, -3, last, n_columns), _neighbours(row_at, at, -2, last, n_columns))
            c, d = _ordered(_neighbours(row_at, at, -1, last, n_columns), middle)
            a, c = _ordered(a, c)
            b, d = _ordered(b, d)
            b, c = _ordered(b, c)
            e, f = _ordered(_neighbours(row_at, at, 1, last, n_columns), _neighbours(row_at, at, 2, last, n_columns))
            f, g = _ordered(f, _neighbours(row_at, at, 3, last, n_columns))
            e, f = _ordered(e, f)
            # The fourth smallest of a ≤ b ≤ c ≤ d and e ≤ f ≤ g.
            median = tl.minimum(tl.minimum(tl.maximum(a, g), tl.maximum(b, f)), tl.minimum(tl.maximum(c, e), d))
            total += tl.where(last >= 3, median, middle)
        tl.store(out_at + (window * n_tokens + token) * n_columns + at, total / n_heads, mask=at < n_columns)


def median_mean(weights: torch.Tensor, n_positions: torch.Tensor) -> torch.Tensor:
    """As `median_mean` of `engines.gpu.attention`, in float32; it reads each weight once from memory.

    On an H200 an alignment of 8 texts of up to 256 tokens takes 3.0 ms with it instead of 5.9 (turbo).
    """
    n_windows, n_heads, n_tokens, n_columns = weights.shape
    out = torch.empty((n_windows, n_tokens, n_columns), dtype=torch.float32, device=weights.device)
    _median_mean[(n_tokens, n_windows)](
        weights.contiguous(), n_positions.contiguous(), out, n_heads, n_tokens, n_columns, BLOCK=MEDIAN_BLOCK
    )
    return out

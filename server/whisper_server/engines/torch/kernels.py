"""Kernels in Triton that do in one pass what PyTorch does in several: filling the cross-attention cache, and layer normalization.

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

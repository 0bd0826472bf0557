"""Attention of one new token of each text over a cache, for chosen rows of it: a kernel in Triton.

PyTorch's kernels read all rows up to the highest one, those too whose text has ended, and as many positions of each. This one reads
the rows that decode, each up to its own length, and caches in FP8 as they are. From Ampere (compute capability 8.0) on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

BLOCK = 32
"""Positions at a time. With 2 warps and 3 stages an H200 reads 256 rows of large-v3 in 0.452 ms, in FP8 in 0.242; PyTorch's kernel takes
0.448, reading alone 0.457 (4.3 TB/s). Nine other choices took up to 0.548 and 0.325 (bench/RESULTS.md)."""
N_WARPS = 2
N_STAGES = 3
"""Blocks on their way from the memory."""


@triton.jit
def _attend(
    queries_at,
    keys_at,
    values_at,
    key_scales_at,
    value_scales_at,
    rows_at,
    lengths_at,
    out_at,
    query_stride,
    n_heads,
    n_positions,
    factor,
    SCALED: tl.constexpr,
    POSITIONS: tl.constexpr,
    WIDTH: tl.constexpr,
    STAGES: tl.constexpr,
) -> None:
    """One head of one text: softmax as it goes, and the sums of the values by position in the block until the end."""
    head, text = tl.program_id(0), tl.program_id(1)
    row = tl.load(rows_at + text).to(tl.int64)
    length = tl.load(lengths_at + text)
    column = tl.arange(0, WIDTH)
    position = tl.arange(0, POSITIONS)
    query = tl.load(queries_at + text * query_stride + head * WIDTH + column).to(tl.float32) * factor
    if SCALED:
        query *= tl.load(key_scales_at + row * n_heads + head)
    begin = (row * n_heads + head) * n_positions * WIDTH
    largest = float("-inf")
    total = 0.0
    sums = tl.zeros((POSITIONS, WIDTH), tl.float32)
    for first in tl.range(0, length, POSITIONS, num_stages=STAGES):
        at = first + position
        inside = at < length
        offsets = begin + at[:, None] * WIDTH + column[None, :]
        keys = tl.load(keys_at + offsets, mask=inside[:, None], other=0.0).to(tl.float32)
        values = tl.load(values_at + offsets, mask=inside[:, None], other=0.0).to(tl.float32)
        scores = tl.where(inside, tl.sum(keys * query[None, :], 1), float("-inf"))
        larger = tl.maximum(largest, tl.max(scores, 0))
        shrink = tl.exp2(largest - larger)
        shares = tl.exp2(scores - larger)
        total = total * shrink + tl.sum(shares, 0)
        sums = sums * shrink + shares[:, None] * values
        largest = larger
    result = tl.sum(sums, 0) / tl.maximum(total, 1e-30)  # 0 of no position
    if SCALED:
        result *= tl.load(value_scales_at + row * n_heads + head)
    tl.store(out_at + (text * n_heads + head) * WIDTH + column, result.to(out_at.dtype.element_ty))


@dataclass(frozen=True)
class Scales:
    """Of keys and values in FP8, by (row, head)."""

    keys: torch.Tensor
    values: torch.Tensor


def attend(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    rows: torch.Tensor,
    lengths: torch.Tensor,
    scales: Scales | None = None,
) -> torch.Tensor:
    """Queries (text, width) over `lengths` positions of `rows` of the caches (row, head, position, head width) → (text, width)."""
    n_texts = len(queries)
    _, n_heads, n_positions, width = keys.shape
    out = torch.empty((n_texts, n_heads * width), dtype=queries.dtype, device=queries.device)
    _attend[(n_heads, n_texts)](
        queries,
        keys,
        values,
        scales.keys if scales else queries,
        scales.values if scales else queries,
        rows,
        lengths,
        out,
        queries.stride(0),
        n_heads,
        n_positions,
        width**-0.5 * 1.4426950408889634,  # by powers of 2
        SCALED=scales is not None,
        POSITIONS=BLOCK,
        WIDTH=width,
        STAGES=N_STAGES,
        num_warps=N_WARPS,
    )
    return out

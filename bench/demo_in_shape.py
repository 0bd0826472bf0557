"""The demo model inside a real shape: hears what the demo model hears, for what the real shape costs. Needs torch.

turbo and large-v3 are 5 times as wide as the demo model, with 5 times as many heads of 64 numbers. So the hidden state is the demo's
5 times side by side, with the same mean and variance: norms, embeddings and conv1 are tiled, all other products are block-diagonal.
The last norm has a fifth of its size, as the logits sum over the copies. Layers beyond the demo's compute with random weights
and add next to nothing. The 80 mel bands stay: 128 would add 0.05% to the encoder's work.

2026-11-30, turbo-demo on the torch engine in float32, beside the demo model on the same: the demo clip and three of 29 to 30 s have the
same tokens, and of 279 words one begins 20 ms later, by rounding to bfloat16. A clip of 30 s has 131 to 138 text tokens, 149 to
156 with timestamps, so the benches do not limit them to the 100 of other shapes.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

ADDS = ("out_proj.", "fc2.")
"""Parts of a layer that add to the residual stream."""
QUIETER = 1e-4
"""Their random weights are multiplied by it. Not by 0: FP8 divides by the largest of a row."""
LAST_NORM = "model.decoder.layer_norm"
EMBEDDING = "model.decoder.embed_tokens.weight"
UNUSED_LOGIT = -100.0
"""Of the 45,257 token ids beyond the demo's vocabulary, which count as timestamps: -82 to -124 in bfloat16, where the best token
has 8 to 17. Together they have a probability below 1e-37."""


def put_demo_into(tensors: dict[str, torch.Tensor], demo: Path) -> None:
    """Replace a checkpoint's random weights."""
    dtype, n_tokens = tensors[EMBEDDING].dtype, len(tensors[EMBEDDING])
    heard = load_file(demo / "model.safetensors")
    n_copies = tensors[EMBEDDING].shape[1] // heard[EMBEDDING].shape[1]
    for name, values in tensors.items():
        if name in heard:
            tensors[name] = _tiled(name, heard[name].float(), n_copies).to(dtype)
        elif any(part in name for part in ADDS):
            tensors[name] = values * QUIETER
    for part in ("weight", "bias"):
        tensors[f"{LAST_NORM}.{part}"] = (heard[f"{LAST_NORM}.{part}"].float() / n_copies).repeat(n_copies).to(dtype)
    unused = _of_constant_logit(tensors).to(dtype).expand(n_tokens - len(tensors[EMBEDDING]), -1)
    tensors[EMBEDDING] = torch.cat([tensors[EMBEDDING], unused])


def copied_heads(demo: Path) -> list[list[int]]:
    """(layer, head) of the demo's alignment heads, and the same in the next copy: 6, as turbo has."""
    config, generation = (json.loads((demo / f"{name}.json").read_bytes()) for name in ("config", "generation_config"))
    heads: list[list[int]] = generation["alignment_heads"]
    return [*heads, *([layer, head + config["decoder_attention_heads"]] for layer, head in heads)]


def _tiled(name: str, values: torch.Tensor, n: int) -> torch.Tensor:
    if values.ndim == 1:
        return values.repeat(n)
    if "embed_" in name:
        return values.repeat(1, n)
    if name.endswith("conv1.weight"):  # all copies hear the same bands
        return values.repeat(n, 1, 1)
    if values.ndim == 3:
        return torch.stack([torch.block_diag(*[tap] * n) for tap in values.unbind(2)], 2)
    return torch.block_diag(*[values] * n)


def _of_constant_logit(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """An embedding whose logit is the same after any text: what a norm returns is x * weight + bias, and the sum of x is 0."""
    weight, bias = (tensors[f"{LAST_NORM}.{part}"].float() for part in ("weight", "bias"))
    return UNUSED_LOGIT / (bias / weight).sum() / weight

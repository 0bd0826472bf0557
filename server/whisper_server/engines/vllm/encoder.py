"""Whisper's encoder on vLLM's weights, compiled: vLLM runs its own eagerly, and that is what bounds its throughput.

One compiled function serves all layers, taking their weights as arguments, so that compiling takes seconds and
not minutes. CUDA only: elsewhere vLLM may have packed the weights away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - everybody's name for it

Weights = tuple[torch.Tensor, ...]


def layer_weights(layer: Any) -> Weights:
    """Of one of vLLM's encoder layers, in the order in which `encoder_layer` takes them."""
    attention, norm, last_norm, mlp = layer.self_attn, layer.self_attn_layer_norm, layer.final_layer_norm, layer.mlp
    modules = (norm, attention.qkv_proj, attention.out_proj, last_norm, mlp.fc1, mlp.fc2)
    return tuple(tensor for module in modules for tensor in (module.weight, module.bias))


def encoder_layer(hidden: torch.Tensor, weights: Weights, n_heads: int) -> torch.Tensor:
    """Hidden states (window, position, width) → the same, one layer on."""
    norm_w, norm_b, qkv_w, qkv_b, out_w, out_b, last_w, last_b, in_w, in_b, back_w, back_b = weights
    n_windows, n_positions, width = hidden.shape
    fused = F.linear(F.layer_norm(hidden, (width,), norm_w, norm_b), qkv_w, qkv_b)
    query, key, value = fused.view(n_windows, n_positions, 3, n_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    heard = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(hidden.shape)
    hidden = hidden + F.linear(heard, out_w, out_b)
    inner = F.gelu(F.linear(F.layer_norm(hidden, (width,), last_w, last_b), in_w, in_b))
    hidden = hidden + F.linear(inner, back_w, back_b)
    if hidden.dtype == torch.float16:
        highest = torch.finfo(torch.float16).max - 1000
        hidden = hidden.clamp(min=-highest, max=highest)
    return hidden


class CompiledEncoder:
    """vLLM's encoder, run by functions of ours."""

    def __init__(self, encoder: Any, n_heads: int, *, compiles: bool = True) -> None:
        self._encoder = encoder
        self._n_heads = n_heads
        self._weights = [layer_weights(layer) for layer in encoder.layers]
        self._layer: Callable[..., torch.Tensor] = encoder_layer
        self._stem: Callable[..., torch.Tensor] = _stem
        if compiles:
            self._layer = torch.compile(encoder_layer, dynamic=None)
            self._stem = torch.compile(_stem, dynamic=None)

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Features (window, band, frame) → hidden states (window, position, width)."""
        encoder = self._encoder
        torch._dynamo.maybe_mark_dynamic(features, 0)  # noqa: SLF001 - torch has no public name for it
        hidden = self._stem(features, encoder.conv1, encoder.conv2, encoder.embed_positions.weight)
        for weights in self._weights:
            torch._dynamo.maybe_mark_dynamic(hidden, 0)  # noqa: SLF001 - likewise
            hidden = self._layer(hidden, weights, self._n_heads)
        states: torch.Tensor = encoder.layer_norm(hidden)
        return states


def _stem(features: torch.Tensor, first: Any, second: Any, positions: torch.Tensor) -> torch.Tensor:
    """Two convolutions, and where in the window it is."""
    embedded = F.gelu(second(F.gelu(first(features))))
    return (embedded.transpose(1, 2) + positions).to(features.dtype).contiguous()

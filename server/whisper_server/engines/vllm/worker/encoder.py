"""Whisper's encoder on vLLM's weights, a batch at a time, recorded as CUDA graphs.

vLLM runs its own eagerly, and takes longer to start the kernels of a window than the GPU takes to compute them.
Recorded on GPUs only: elsewhere vLLM may have packed the weights away.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - everybody's name for it

Weights = tuple[torch.Tensor, ...]
N_WARM_UPS = 2


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


def encode(features: torch.Tensor, encoder: Any, layers: list[Weights], n_heads: int) -> torch.Tensor:
    """Features (window, band, frame) → hidden states (window, position, width)."""
    embedded = F.gelu(encoder.conv2(F.gelu(encoder.conv1(features))))
    hidden = (embedded.transpose(1, 2) + encoder.embed_positions.weight).to(features.dtype).contiguous()
    for weights in layers:
        hidden = encoder_layer(hidden, weights, n_heads)
    states: torch.Tensor = encoder.layer_norm(hidden)
    return states


class RecordedEncoder:
    """The encoder for batches of up to `n_most` windows, a graph for each number."""

    def __init__(self, encoder: Any, n_heads: int, n_most: int) -> None:
        self._encoder = encoder
        self._n_heads = n_heads
        self._n_most = n_most
        self._layers = [layer_weights(layer) for layer in encoder.layers]
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._answers: dict[int, torch.Tensor] = {}
        self._features = torch.empty(0)

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Features (window, band, frame) → hidden states (window, position, width), valid until the next call."""
        n_windows = len(features)
        if not self._graphs:
            self._record(features)
        self._features[:n_windows].copy_(features)
        self._graphs[n_windows].replay()
        return self._answers[n_windows]

    def _record(self, features: torch.Tensor) -> None:
        """All numbers of windows, largest first, so that the others fit into its memory."""
        self._features = features.new_zeros((self._n_most, *features.shape[1:]))
        pool = torch.cuda.graph_pool_handle()
        for n_windows in range(self._n_most, 0, -1):
            for _ in range(N_WARM_UPS):
                self._encode(n_windows)
            torch.cuda.synchronize(features.device)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):
                self._answers[n_windows] = self._encode(n_windows)
            self._graphs[n_windows] = graph

    def _encode(self, n_windows: int) -> torch.Tensor:
        return encode(self._features[:n_windows], self._encoder, self._layers, self._n_heads)

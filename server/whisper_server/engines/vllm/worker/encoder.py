"""Whisper's encoder on vLLM's weights, as plain functions of tensors, which a CUDA graph can capture.

vLLM runs its own encoder eagerly, and takes longer to launch the kernels of a window than the GPU takes to compute
them. `cuda_graphs` captures these functions instead.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

Weights = tuple[torch.Tensor, ...]


def layer_weights(layer: torch.nn.Module) -> Weights:
    """Weights and biases of one of vLLM's encoder layers, in the order in which `encoder_layer` takes them."""
    attention, norm, last_norm, mlp = layer.self_attn, layer.self_attn_layer_norm, layer.final_layer_norm, layer.mlp
    modules = (norm, attention.qkv_proj, attention.out_proj, last_norm, mlp.fc1, mlp.fc2)
    return tuple(tensor for module in modules for tensor in (module.weight, module.bias))


def encoder_layer(hidden: torch.Tensor, weights: Weights, n_heads: int) -> torch.Tensor:
    """Hidden states (window, position, width) → those after one layer, in the same shape."""
    norm_w, norm_b, qkv_w, qkv_b, out_w, out_b, last_w, last_b, in_w, in_b, back_w, back_b = weights
    n_windows, n_positions, width = hidden.shape
    fused = F.linear(F.layer_norm(hidden, (width,), norm_w, norm_b), qkv_w, qkv_b)
    query, key, value = fused.view(n_windows, n_positions, 3, n_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(hidden.shape)
    hidden = hidden + F.linear(attended, out_w, out_b)
    inner = F.gelu(F.linear(F.layer_norm(hidden, (width,), last_w, last_b), in_w, in_b))
    hidden = hidden + F.linear(inner, back_w, back_b)
    if hidden.dtype == torch.float16:  # as transformers' WhisperEncoderLayer: an infinity would become NaN in the norm
        limit = torch.finfo(torch.float16).max - 1000
        hidden = hidden.clamp(min=-limit, max=limit)
    return hidden


def encode(features: torch.Tensor, encoder: torch.nn.Module, layers: list[Weights], n_heads: int) -> torch.Tensor:
    """Features (window, band, frame) → hidden states (window, position, width)."""
    embedded = F.gelu(encoder.conv2(F.gelu(encoder.conv1(features))))
    hidden = (embedded.transpose(1, 2) + encoder.embed_positions.weight).to(features.dtype).contiguous()
    for weights in layers:
        hidden = encoder_layer(hidden, weights, n_heads)
    states: torch.Tensor = encoder.layer_norm(hidden)
    return states

"""Whisper's encoder and decoder as functions of weights and caches: `AudioEncoder` and `TextDecoder` of openai/whisper.

Every window in the engine has a row in the caches. Shapes: (row, head, position, head width).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from whisper_server.engines.torch.weights import DecoderLayer, Layer, Weights
from whisper_server.whisper.constants import N_AUDIO_POSITIONS

FP8 = torch.float8_e4m3fn
MAX_FP8 = 448.0


@dataclass(frozen=True)
class Caches:
    """Keys and values of all rows, one tensor per decoder layer."""

    self_keys: tuple[torch.Tensor, ...]
    self_values: tuple[torch.Tensor, ...]
    cross_keys: tuple[torch.Tensor, ...]
    cross_values: tuple[torch.Tensor, ...]
    cross_scales: tuple[torch.Tensor, ...] | None
    """Of a cross-attention cache in FP8: (keys and values, row, head)."""

    @classmethod
    def allocate(cls, weights: Weights, n_rows: int, n_text_positions: int, *, fp8: bool) -> Caches:
        """For `n_rows` windows; `fp8`: the cross-attention cache. Raises torch.cuda.OutOfMemoryError."""
        n_heads, device = weights.n_decoder_heads, weights.device

        def tensors(n_positions: int, dtype: torch.dtype = weights.dtype) -> tuple[torch.Tensor, ...]:
            shape = (n_rows, n_heads, n_positions, weights.width // n_heads)
            return tuple(torch.zeros(shape, dtype=dtype, device=device) for _ in weights.decoder_layers)

        cross = FP8 if fp8 else weights.dtype
        scales = tuple(torch.ones((2, n_rows, n_heads), device=device) for _ in weights.decoder_layers)
        return cls(
            tensors(n_text_positions),
            tensors(n_text_positions),
            tensors(N_AUDIO_POSITIONS, cross),
            tensors(N_AUDIO_POSITIONS, cross),
            scales if fp8 else None,
        )

    def cross(self, layer: int, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a layer's cross-attention in `rows`, in the type of the others."""
        key, value = self.cross_keys[layer][rows], self.cross_values[layer][rows]
        if self.cross_scales is None:
            return key, value
        dtype = self.self_keys[layer].dtype
        key_scales, value_scales = self.cross_scales[layer][:, rows, :, None, None].to(dtype)
        return key.to(dtype) * key_scales, value.to(dtype) * value_scales


def encode(weights: Weights, features: torch.Tensor) -> torch.Tensor:
    """Log-mel features (window, band, frame), of at most 30 s → hidden states (window, position, width)."""
    conv1, conv2 = weights.conv1, weights.conv2
    hidden = F.gelu(F.conv1d(features, conv1.weight, conv1.bias, padding=1))
    hidden = F.gelu(F.conv1d(hidden, conv2.weight, conv2.bias, stride=2, padding=1))
    hidden = hidden.transpose(1, 2).contiguous()
    hidden = hidden + weights.encoder_positions[: hidden.shape[1]]
    for layer in weights.encoder_layers:
        query, key, value = _split_qkv(layer.qkv.after_norm(layer.norm, hidden), weights.n_encoder_heads)
        hidden = layer.out.added(hidden, _merge_heads(F.scaled_dot_product_attention(query, key, value)))
        hidden = _clamped(_feed_forward(layer, hidden))
    return weights.encoder_norm(hidden)


def fill_cross_cache(
    weights: Weights, caches: Caches, states: torch.Tensor, rows: torch.Tensor, *, by_kernel: bool
) -> None:
    """Keys and values of encoded windows (window, position, width) into their rows; `by_kernel`: by that of `kernels`, as FP8 needs."""
    for index, layer in enumerate(weights.decoder_layers):
        products, keys, values = layer.cross_key_value(states), caches.cross_keys[index], caches.cross_values[index]
        if by_kernel:
            from whisper_server.engines.torch.kernels import fill  # Triton, which a CPU does not have

            fill(products, keys, values, caches.cross_scales[index] if caches.cross_scales else None, rows)
        else:
            for cache, part in zip((keys, values), products.chunk(2, dim=-1), strict=True):
                cache.index_copy_(0, rows, _split_heads(part, weights.n_decoder_heads))


def decode_step(
    weights: Weights, caches: Caches, tokens: torch.Tensor, positions: torch.Tensor, length: int
) -> torch.Tensor:
    """One token per row for the first `len(tokens)` rows → logits (row, token).

    `positions` are those of `tokens`, all below `length`: attention looks at that many positions of the text.
    """
    n_rows, n_heads = len(tokens), weights.n_decoder_heads
    rows = torch.arange(n_rows, device=tokens.device)
    visible = (torch.arange(length, device=tokens.device) <= positions.unsqueeze(1)).view(n_rows, 1, 1, length)
    hidden = (
        F.embedding(tokens, weights.token_embedding) + F.embedding(positions, weights.decoder_positions)
    ).unsqueeze(1)
    for index, layer in enumerate(weights.decoder_layers):
        query, key, value = _split_qkv(layer.qkv.after_norm(layer.norm, hidden), n_heads)
        keys, values = caches.self_keys[index], caches.self_values[index]
        keys[rows, :, positions] = key[:, :, 0]
        values[rows, :, positions] = value[:, :, 0]
        attended = F.scaled_dot_product_attention(
            query, keys[:n_rows, :, :length], values[:n_rows, :, :length], attn_mask=visible
        )
        hidden = layer.out.added(hidden, _merge_heads(attended))
        query = _split_heads(layer.cross_query(layer.cross_norm(hidden)), n_heads)
        attended = F.scaled_dot_product_attention(
            query, caches.cross_keys[index][:n_rows], caches.cross_values[index][:n_rows]
        )
        hidden = layer.cross_out.added(hidden, _merge_heads(attended))
        hidden = _feed_forward(layer, hidden)
    return logits_of(weights, hidden[:, 0])


def decode_rows(
    weights: Weights, caches: Caches, tokens: torch.Tensor, positions: torch.Tensor, rows: torch.Tensor
) -> torch.Tensor:
    """Tokens at `positions` of any rows, on a GPU → hidden states (token, width).

    A row may have several tokens, whose positions then follow each other. Each token's attention looks at the text up to itself only,
    and in the last row, which takes what pads a batch, at nothing.
    """
    from whisper_server.engines.torch.row_attention import Scales, attend  # Triton, which a CPU does not have

    is_used = rows < len(caches.self_keys[0]) - 1
    lengths, audio_lengths = (positions + 1) * is_used, N_AUDIO_POSITIONS * is_used
    hidden = F.embedding(tokens, weights.token_embedding) + F.embedding(positions, weights.decoder_positions)
    for index, layer in enumerate(weights.decoder_layers):
        query, key, value = layer.qkv.after_norm(layer.norm, hidden).chunk(3, dim=-1)
        keys, values = caches.self_keys[index], caches.self_values[index]
        keys[rows, :, positions] = key.unflatten(1, (weights.n_decoder_heads, -1))
        values[rows, :, positions] = value.unflatten(1, (weights.n_decoder_heads, -1))
        hidden = layer.out.added(hidden, attend(query, keys, values, rows, lengths))
        query = layer.cross_query(layer.cross_norm(hidden))
        scales = Scales(*caches.cross_scales[index]) if caches.cross_scales else None
        keys, values = caches.cross_keys[index], caches.cross_values[index]
        hidden = layer.cross_out.added(hidden, attend(query, keys, values, rows, audio_lengths, scales))
        hidden = _feed_forward(layer, hidden)
    return hidden


def read_prompts(
    weights: Weights, caches: Caches, rows: torch.Tensor, tokens: torch.Tensor, *, by_rows: bool
) -> torch.Tensor:
    """Prompts (window, token) into the self-attention cache of `rows` → hidden states (window, token, width).

    `by_rows`: on a GPU, without a copy of the rows' cross-attention cache.
    """
    if not by_rows:
        return decode_known(weights, caches, rows, tokens, keep=True)[0]
    n_windows, n_tokens = tokens.shape
    positions = torch.arange(n_tokens, device=tokens.device).repeat(n_windows)
    hidden = decode_rows(weights, caches, tokens.reshape(-1), positions, rows.repeat_interleave(n_tokens))
    return hidden.view(n_windows, n_tokens, -1)


def decode_known(
    weights: Weights,
    caches: Caches,
    rows: torch.Tensor,
    tokens: torch.Tensor,
    *,
    keep: bool,
    heads: Sequence[torch.Tensor] = (),
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Known tokens (window, token) of windows in `rows`, all at once.

    Returns hidden states (window, token, width) and, for the `heads` of each layer, the scores of their cross-attention
    (window, head, token, position). With `keep`, the self-attention cache holds the tokens afterwards; what it holds
    beyond a shorter prompt is overwritten before it can be seen.
    """
    n_tokens, n_heads = tokens.shape[1], weights.n_decoder_heads
    hidden = F.embedding(tokens, weights.token_embedding) + weights.decoder_positions[:n_tokens]
    scores = []
    for index, layer in enumerate(weights.decoder_layers):
        query, key, value = _split_qkv(layer.qkv.after_norm(layer.norm, hidden), n_heads)
        if keep:
            caches.self_keys[index][rows, :, :n_tokens] = key
            caches.self_values[index][rows, :, :n_tokens] = value
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        hidden = layer.out.added(hidden, _merge_heads(attended))
        query = _split_heads(layer.cross_query(layer.cross_norm(hidden)), n_heads)
        key, value = caches.cross(index, rows)
        if heads and len(chosen := heads[index]):
            scores.append(query[:, chosen] @ key[:, chosen].transpose(-1, -2) * query.shape[-1] ** -0.5)
        hidden = layer.cross_out.added(hidden, _merge_heads(F.scaled_dot_product_attention(query, key, value)))
        hidden = _feed_forward(layer, hidden)
    return hidden, torch.cat(scores, dim=1) if scores else None


def logits_of(weights: Weights, hidden: torch.Tensor) -> torch.Tensor:
    """Hidden states (…, width) → logits (…, token)."""
    return F.linear(weights.decoder_norm(hidden), weights.token_embedding)[..., : weights.n_tokens]


def _feed_forward(layer: Layer | DecoderLayer, hidden: torch.Tensor) -> torch.Tensor:
    """Hidden states with the layer's feed-forward part added."""
    return layer.mlp_out.added_feed_forward(layer.mlp_in, layer.mlp_norm, hidden)


def _clamped(hidden: torch.Tensor) -> torch.Tensor:
    """In half precision large activations of large-v3 reach infinity; transformers clamps them likewise."""
    if hidden.dtype is not torch.float16:
        return hidden
    limit = torch.finfo(torch.float16).max - 1000
    return hidden.clamp(min=-limit, max=limit)


def _split_qkv(values: torch.Tensor, n_heads: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    query, key, value = values.chunk(3, dim=-1)
    return _split_heads(query, n_heads), _split_heads(key, n_heads), _split_heads(value, n_heads)


def _split_heads(values: torch.Tensor, n_heads: int) -> torch.Tensor:
    """(window, position, width) → (window, head, position, head width)."""
    return values.view(*values.shape[:2], n_heads, -1).transpose(1, 2)


def _merge_heads(values: torch.Tensor) -> torch.Tensor:
    return values.transpose(1, 2).flatten(2)

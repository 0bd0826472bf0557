"""A Hugging Face Whisper checkpoint as tensors on the device, in the shape in which `network` uses them.

Single and sharded safetensors in float16, bfloat16 or float32. Query, key and value weights are joined, so that a
layer takes one matrix product instead of three.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from safetensors import safe_open

from whisper_server.engines.checkpoint import read_json, tensor_files

EMBEDDING_ROWS = 64
"""The token embedding has a multiple of so many rows: with 51,866 cuBLAS takes a kernel of Ampere's time on an H200 (0.29 ms
for 512 windows)."""


@dataclass(frozen=True)
class Linear:
    """A matrix product with a bias."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        return F.linear(values, self.weight, self.bias)

    def after_norm(self, norm: Norm, values: torch.Tensor) -> torch.Tensor:
        """Of the normalized values."""
        return self(norm(values))

    def added(self, stream: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """The residual stream with this product of `values` added; what was given is not used any more."""
        return stream + self(values)

    def added_feed_forward(self, first: Linear, norm: Norm, stream: torch.Tensor) -> torch.Tensor:
        """The stream with a feed-forward part added, whose second product this is."""
        return self.added(stream, activations(first, norm, stream))


@dataclass(frozen=True)
class Norm:
    """Layer normalization."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(values, self.weight.shape, self.weight, self.bias)


def activations(first: Linear, norm: Norm, values: torch.Tensor) -> torch.Tensor:
    """GELU of a feed-forward part's first product, of the normalized values.

    In bfloat16 on a GPU cuBLAS computes GELU with the product, by tanh: 0.26 of 5.1 ms per window on an H200. The difference to
    the exact function is below bfloat16's rounding.
    """
    if values.dtype is not torch.bfloat16 or not values.is_cuda:
        return F.gelu(first.after_norm(norm, values))
    rows = norm(values).reshape(-1, values.shape[-1])
    product = torch._addmm_activation(first.bias, rows, first.weight.t(), use_gelu=True)  # noqa: SLF001 - no public name
    return product.view(*values.shape[:-1], -1)


@dataclass(frozen=True)
class Layer:
    """Self-attention and feed-forward part, which encoder and decoder have in common."""

    norm: Norm
    qkv: Linear
    out: Linear
    mlp_norm: Norm
    mlp_in: Linear
    mlp_out: Linear


@dataclass(frozen=True)
class DecoderLayer(Layer):
    """With cross-attention."""

    cross_norm: Norm
    cross_query: Linear
    cross_key_value: Linear
    cross_out: Linear


@dataclass(frozen=True)
class Weights:
    """All of a Whisper model."""

    n_encoder_heads: int
    n_decoder_heads: int
    n_mels: int
    conv1: Linear
    conv2: Linear
    encoder_positions: torch.Tensor
    encoder_layers: tuple[Layer, ...]
    encoder_norm: Norm
    token_embedding: torch.Tensor
    """(token, width); after the vocabulary's end come rows of zeros."""
    n_tokens: int
    decoder_positions: torch.Tensor
    decoder_layers: tuple[DecoderLayer, ...]
    decoder_norm: Norm

    @property
    def width(self) -> int:
        """Of the hidden states."""
        return int(self.token_embedding.shape[1])

    @property
    def device(self) -> torch.device:
        return self.token_embedding.device

    @property
    def dtype(self) -> torch.dtype:
        return self.token_embedding.dtype


def load_weights(folder: Path, device: torch.device, dtype: torch.dtype) -> Weights:
    """Read a checkpoint straight to the device; `read_model_files` has seen that it is whole."""
    config = read_json(folder, "config.json")
    with ExitStack() as stack:
        readers: dict[str, Any] = {}
        for path in tensor_files(folder):
            file = stack.enter_context(safe_open(path, framework="pt", device=str(device)))
            readers |= dict.fromkeys(file.keys(), file)

        def tensor(name: str) -> torch.Tensor:
            values: torch.Tensor = readers[name].get_tensor(name).to(device, dtype).contiguous()
            return values

        embedding = tensor("model.decoder.embed_tokens.weight")
        return Weights(
            n_encoder_heads=int(config["encoder_attention_heads"]),
            n_decoder_heads=int(config["decoder_attention_heads"]),
            n_mels=int(config["num_mel_bins"]),
            conv1=_linear(tensor, "model.encoder.conv1"),
            conv2=_linear(tensor, "model.encoder.conv2"),
            encoder_positions=tensor("model.encoder.embed_positions.weight"),
            encoder_layers=tuple(
                Layer(*_layer_parts(tensor, f"model.encoder.layers.{index}"))
                for index in range(int(config["encoder_layers"]))
            ),
            encoder_norm=_norm(tensor, "model.encoder.layer_norm"),
            token_embedding=F.pad(embedding, (0, 0, 0, -len(embedding) % EMBEDDING_ROWS)),
            n_tokens=len(embedding),
            decoder_positions=tensor("model.decoder.embed_positions.weight"),
            decoder_layers=tuple(
                _decoder_layer(tensor, f"model.decoder.layers.{index}")
                for index in range(int(config["decoder_layers"]))
            ),
            decoder_norm=_norm(tensor, "model.decoder.layer_norm"),
        )


_Read = Callable[[str], torch.Tensor]


def _linear(tensor: _Read, name: str) -> Linear:
    return Linear(tensor(f"{name}.weight"), tensor(f"{name}.bias"))


def _norm(tensor: _Read, name: str) -> Norm:
    return Norm(tensor(f"{name}.weight"), tensor(f"{name}.bias"))


def _joined(tensor: _Read, attention: str, names: tuple[str, ...]) -> Linear:
    """Several projections of the same input as one. Whisper's keys have no bias."""
    weights = [tensor(f"{attention}.{name}.weight") for name in names]
    biases = [
        torch.zeros_like(weight[:, 0]) if name == "k_proj" else tensor(f"{attention}.{name}.bias")
        for name, weight in zip(names, weights, strict=True)
    ]
    return Linear(torch.cat(weights), torch.cat(biases))


def _layer_parts(tensor: _Read, layer: str) -> tuple[Norm, Linear, Linear, Norm, Linear, Linear]:
    return (
        _norm(tensor, f"{layer}.self_attn_layer_norm"),
        _joined(tensor, f"{layer}.self_attn", ("q_proj", "k_proj", "v_proj")),
        _linear(tensor, f"{layer}.self_attn.out_proj"),
        _norm(tensor, f"{layer}.final_layer_norm"),
        _linear(tensor, f"{layer}.fc1"),
        _linear(tensor, f"{layer}.fc2"),
    )


def _decoder_layer(tensor: _Read, layer: str) -> DecoderLayer:
    return DecoderLayer(
        *_layer_parts(tensor, layer),
        cross_norm=_norm(tensor, f"{layer}.encoder_attn_layer_norm"),
        cross_query=_linear(tensor, f"{layer}.encoder_attn.q_proj"),
        cross_key_value=_joined(tensor, f"{layer}.encoder_attn", ("k_proj", "v_proj")),
        cross_out=_linear(tensor, f"{layer}.encoder_attn.out_proj"),
    )

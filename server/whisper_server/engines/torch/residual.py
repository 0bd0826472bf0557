"""The residual stream without kernels that only add: matrix products add to it in place, and a norm adds all their biases.

PyTorch takes a kernel to add what a layer has computed and one to normalize the sum, which read and write it five times: 5 of 72 ms of an
H200 for 16 windows of large-v3. cuBLAS adds a product to what is there while it writes it, but then without the bias. So the stream lacks
the biases of all products so far, and a norm adds their sum, which is the same in every position.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from whisper_server.engines.torch.weights import DecoderLayer, Layer, Linear, Norm, Weights

LayerT = TypeVar("LayerT", bound=Layer)


@dataclass(frozen=True)
class ShiftedNorm(Norm):
    """Of a stream that lacks biases."""

    shift: torch.Tensor
    """Their sum, in float32."""

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        if not values.is_cuda:
            return F.layer_norm(values + self.shift, self.weight.shape, self.weight, self.bias)
        from whisper_server.engines.torch.kernels import normalize  # Triton, which a CPU does not have

        return normalize(values, self.shift, self.weight, self.bias)


@dataclass(frozen=True)
class AddingLinear(Linear):
    """A product that is added to the stream in place, without its bias."""

    def added(self, stream: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        stream.view(-1, stream.shape[-1]).addmm_(values.reshape(-1, values.shape[-1]), self.weight.t())
        return stream


def with_adding_products(weights: Weights, *, encoder: bool) -> Weights:
    """The same weights for a stream that lacks biases: the decoder's and, if `encoder`, the encoder's. Not for half precision, where
    the stream's limits (`network`) are those of the stream with the biases.
    """
    shift = torch.zeros(weights.width, device=weights.device)
    decoder_layers = []
    for layer in weights.decoder_layers:
        changed, shift = _changed_decoder_layer(layer, shift)
        decoder_layers.append(changed)
    weights = replace(weights, decoder_layers=tuple(decoder_layers), decoder_norm=_shifted(weights.decoder_norm, shift))
    if not encoder:
        return weights
    shift = torch.zeros_like(shift)
    encoder_layers = []
    for one in weights.encoder_layers:
        attended = shift + _bias(one.out)
        encoder_layers.append(_changed(one, shift, attended))
        shift = attended + _bias(one.mlp_out)
    return replace(weights, encoder_layers=tuple(encoder_layers), encoder_norm=_shifted(weights.encoder_norm, shift))


def _changed_decoder_layer(layer: DecoderLayer, before: torch.Tensor) -> tuple[DecoderLayer, torch.Tensor]:
    """The layer, and the biases up to its end."""
    attended = before + _bias(layer.out)
    heard = attended + _bias(layer.cross_out)
    changed = replace(
        _changed(layer, before, heard),
        cross_norm=_shifted(layer.cross_norm, attended),
        cross_out=_adding(layer.cross_out),
    )
    return changed, heard + _bias(layer.mlp_out)


def _changed(layer: LayerT, before: torch.Tensor, before_mlp: torch.Tensor) -> LayerT:
    """What encoder and decoder have in common, by the biases before the layer and before its feed-forward part."""
    return replace(
        layer,
        norm=_shifted(layer.norm, before),
        out=_adding(layer.out),
        mlp_norm=_shifted(layer.mlp_norm, before_mlp),
        mlp_out=_adding(layer.mlp_out),
    )


def _bias(linear: Linear) -> torch.Tensor:
    assert linear.bias is not None, "Whisper's products that end a part have one"
    return linear.bias.float()


def _adding(linear: Linear) -> AddingLinear:
    return AddingLinear(linear.weight, linear.bias)


def _shifted(norm: Norm, shift: torch.Tensor) -> ShiftedNorm:
    return ShiftedNorm(norm.weight, norm.bias, shift)

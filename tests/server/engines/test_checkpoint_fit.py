"""Tensors and settings of a checkpoint that do not fit each other are refused by name, in one line, whatever the engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_kit.demo import DEMO, Tensors, checkpoint_like_demo, demo_tensors, write_bfloat16, write_weights
from whisper_server.engines.checkpoint import Tensors as CheckpointTensors
from whisper_server.engines.checkpoint_fit import require_fit
from whisper_server.engines.ctranslate2.convert import converted_folder
from whisper_server.engines.gpu.model_files import read_model_files
from whisper_server.errors import StartError

FC1 = "model.decoder.layers.0.fc1.weight"


def converted(folder: Path) -> None:
    converted_folder(folder, folder.parent / "cache")


@pytest.fixture(params=[read_model_files, converted], ids=["on a GPU", "ctranslate2"])
def read(request: pytest.FixtureRequest) -> Callable[[Path], object]:
    how: Callable[[Path], object] = request.param
    return how


def reason(read: Callable[[Path], object], folder: Path) -> str:
    with pytest.raises(StartError) as refused:
        read(folder)
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith("MODEL_ID: ")
    assert str(refused.value).endswith("; set it to a whole checkpoint as transformers writes it")
    return str(refused.value)


def with_tensors(folder: Path, changed: Mapping[str, Any]) -> Path:
    checkpoint = checkpoint_like_demo(folder, without=("model.safetensors",))
    write_weights(checkpoint, {**demo_tensors(), **changed})
    return checkpoint


class Headers:
    """In place of open safetensors files: shapes only."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._shapes = shapes

    def get_slice(self, name: str) -> Headers:
        return Headers({"": self._shapes[name]})

    def get_shape(self) -> list[int]:
        return list(self._shapes[""])


@pytest.mark.parametrize("name", demo_tensors())
def test_every_tensor_is_looked_at(name: str) -> None:
    shapes = {key: tensor.shape for key, tensor in demo_tensors().items()}
    config = json.loads((DEMO / "config.json").read_text(encoding="utf-8"))
    opened = Headers({**shapes, name: (*shapes[name], 1)})
    with pytest.raises(StartError, match=f"^MODEL_ID: the checkpoint's tensor {name} has the shape .*, 1], and config"):
        require_fit(CheckpointTensors(dict.fromkeys(shapes, (opened, DEMO))), config)


@pytest.mark.parametrize("write", [write_weights, write_bfloat16])
def test_transposed_tensor_is_named_with_both_shapes(
    tmp_path: Path, read: Callable[[Path], object], write: Callable[[Path, Tensors], None]
) -> None:
    folder = checkpoint_like_demo(tmp_path / "model", without=("model.safetensors",))
    write(folder, {**demo_tensors(), FC1: demo_tensors()[FC1].T})
    assert f"tensor {FC1} has the shape [256, 1024], and config.json asks for [1024, 256]" in reason(read, folder)


def test_separate_output_layer_must_fit_too(tmp_path: Path, read: Callable[[Path], object]) -> None:
    folder = with_tensors(tmp_path / "model", {"proj_out.weight": np.zeros((6608, 256), np.float16)})
    assert "proj_out.weight has the shape [6608, 256]" in reason(read, folder)


def test_missing_tensor_is_named(tmp_path: Path, read: Callable[[Path], object]) -> None:
    folder = checkpoint_like_demo(tmp_path / "model", without=("model.safetensors",))
    write_weights(folder, {name: tensor for name, tensor in demo_tensors().items() if name != FC1})
    assert f"no tensor {FC1}" in reason(read, folder)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"encoder_attention_heads": 7}, "encoder_attention_heads 7, which do not divide d_model 256"),
        ({"decoder_attention_heads": 0}, "decoder_attention_heads 0, which do not divide d_model 256"),
        ({"d_model": 512}, "model.encoder.conv1.weight has the shape [256, 80, 3]"),
        ({"num_mel_bins": 128}, "model.encoder.conv1.weight has the shape [256, 80, 3]"),
        ({"vocab_size": 6709}, "embed_tokens.weight has the shape [6609, 256], and config.json asks for [6709, 256]"),
        ({"encoder_ffn_dim": 512}, "model.encoder.layers.0.fc1.weight has the shape [1024, 256]"),
        ({"decoder_ffn_dim": 512}, "model.decoder.layers.0.fc1.weight has the shape [1024, 256]"),
        ({"max_source_positions": 3000}, "model.encoder.embed_positions.weight has the shape [1500, 256]"),
        ({"max_target_positions": 224}, "model.decoder.embed_positions.weight has the shape [448, 256]"),
        ({"encoder_layers": 9}, "no tensor model.encoder.layers.6.self_attn.q_proj.weight"),
        (
            {"encoder_layers": 5},
            "a tensor model.encoder.layers.5.fc1.weight, and config.json asks for encoder_layers 5",
        ),
        (
            {"decoder_layers": 3},
            "a tensor model.decoder.layers.3.fc1.weight, and config.json asks for decoder_layers 3",
        ),
    ],
)
def test_config_that_does_not_fit_the_tensors_is_named(
    tmp_path: Path, read: Callable[[Path], object], changes: Mapping[str, Any], named: str
) -> None:
    folder = checkpoint_like_demo(tmp_path / "model", json_changes={"config.json": changes})
    assert named in reason(read, folder)


def test_tensors_of_a_quantized_checkpoint_are_its_engines_affair(tmp_path: Path) -> None:
    changes = {"config.json": {"quantization_config": {"quant_method": "compressed-tensors"}}}
    folder = checkpoint_like_demo(tmp_path / "model", without=("model.safetensors",), json_changes=changes)
    packed = {**demo_tensors(), f"{FC1}_packed": np.zeros((1024, 32), np.int32)}
    del packed[FC1]
    write_weights(folder, packed)
    assert read_model_files(folder).shape.width == 256


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ([[3, 1], [9, 0], [2, 4]], ((3, 1),)),
        ([[9, 0]], tuple((layer, head) for layer in (2, 3) for head in range(4))),
    ],
)
def test_alignment_heads_that_the_model_lacks_are_left_out(
    tmp_path: Path, given: list[list[int]], kept: tuple[tuple[int, int], ...]
) -> None:
    changes = {"generation_config.json": {"alignment_heads": given}}
    folder = checkpoint_like_demo(tmp_path / "model", json_changes=changes)
    assert read_model_files(folder).alignment_heads == kept

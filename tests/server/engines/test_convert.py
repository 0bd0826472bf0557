"""Checkpoints in every format convert to the same model; bad ones are refused in one line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_kit.demo import (
    DEMO,
    checkpoint_like_demo,
    demo_tensors,
    demo_tokenizer,
    write_bfloat16,
    write_shards,
    write_weights,
)
from speech_kit.sentences import spoken
from whisper_server.engines.ctranslate2 import convert
from whisper_server.engines.ctranslate2.convert import converted_folder
from whisper_server.engines.ctranslate2.model import Ctranslate2Model
from whisper_server.errors import StartError
from whisper_server.whisper.engine_protocol import Decoded, DecodeRequest
from whisper_server.whisper.transcript import Task

WEIGHTS = ("model.safetensors",)


def heard(folder: Path) -> Decoded:
    """A converted model's transcript of one sentence."""
    model = Ctranslate2Model(folder, compute_type="float32", n_workers=1, n_threads_each=1)
    prompt, n_task_tokens = demo_tokenizer().prompt_tokens("en", Task.TRANSCRIBE, previous=(), timestamps=False)
    request = DecodeRequest(prompt, n_task_tokens, 0.0, 1, 24, logprobs=False)
    (encoded,) = model.encode([(spoken("en", 0).samples, 3000)])
    (decoded,) = model.decode([(encoded, request)])
    return decoded


def text_of(folder: Path) -> str:
    return demo_tokenizer().detokenize(heard(folder).tokens).strip()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return converted_folder(DEMO, tmp_path_factory.mktemp("original"))


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model.bin").read_bytes()).hexdigest()


def test_converted_model_transcribes_the_sentence(original: Path) -> None:
    assert text_of(original) == spoken("en", 0).text


def test_shards_convert_to_the_same_model_bit_by_bit(tmp_path: Path, original: Path) -> None:
    checkpoint = checkpoint_like_demo(tmp_path / "model", without=WEIGHTS)
    write_shards(checkpoint, demo_tensors(), 3)
    assert digest(converted_folder(checkpoint, tmp_path / "cache")) == digest(original)


@cache
def float32_tensors() -> dict[str, Any]:
    return {name: tensor.astype(np.float32) for name, tensor in demo_tensors().items()}


@pytest.mark.parametrize("write", [write_weights, write_bfloat16])
def test_other_number_formats_give_the_same_text(
    tmp_path: Path, original: Path, write: Callable[[Path, Any], None]
) -> None:
    checkpoint = checkpoint_like_demo(tmp_path / "model", without=WEIGHTS)
    write(checkpoint, float32_tensors())
    copy, of_original = heard(converted_folder(checkpoint, tmp_path / "cache")), heard(original)
    assert copy.tokens == of_original.tokens
    assert copy.sum_logprob == pytest.approx(of_original.sum_logprob, abs=0.25)


def test_shards_may_differ_in_their_number_format(tmp_path: Path, original: Path) -> None:
    checkpoint = checkpoint_like_demo(tmp_path / "model", without=WEIGHTS)
    mixed = {
        name: tensor.astype(np.float32) if "layer_norm" in name else tensor for name, tensor in demo_tensors().items()
    }
    write_shards(checkpoint, mixed, 3)
    assert text_of(converted_folder(checkpoint, tmp_path / "cache")) == text_of(original)


@pytest.mark.parametrize(("factor", "is_same"), [(1, True), (-1, False)])
def test_separate_output_layer_is_used(tmp_path: Path, original: Path, factor: int, is_same: bool) -> None:
    checkpoint = checkpoint_like_demo(tmp_path / "model", without=WEIGHTS)
    embedding = demo_tensors()["model.decoder.embed_tokens.weight"]
    write_weights(checkpoint, {**demo_tensors(), "proj_out.weight": embedding * np.float16(factor)})
    assert (text_of(converted_folder(checkpoint, tmp_path / "cache")) == text_of(original)) is is_same


def test_languages_are_read_from_the_vocabulary_as_a_fallback(tmp_path: Path, original: Path) -> None:
    checkpoint = checkpoint_like_demo(tmp_path / "model", without=("generation_config.json",))
    ours = json.loads((converted_folder(checkpoint, tmp_path / "cache") / "config.json").read_text())
    usual = json.loads((original / "config.json").read_text())
    assert ours["lang_ids"] == usual["lang_ids"]
    assert ours["alignment_heads"] == [[layer, head] for layer in (2, 3) for head in range(4)]


def test_gaps_in_the_ids_shift_no_token(tmp_path: Path) -> None:
    document = {"model": {"vocab": {"a": 0, "b": 3}}, "added_tokens": [{"content": "<|x|>", "id": 5}]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    assert convert._vocabulary(tmp_path, 8) == [
        "a", "<|unused 1|>", "<|unused 2|>", "b", "<|unused 4|>", "<|x|>", "<|0.00|>", "<|0.02|>",
    ]  # fmt: skip


def damage(folder: Path, what: str) -> None:
    weights = folder / "model.safetensors"
    match what:
        case "cut off":
            weights.write_bytes((DEMO / weights.name).read_bytes()[:1_000_000])
        case "empty":
            weights.write_bytes(b"")
        case "no safetensors":
            weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\n" * 20)
        case "no weights":
            pass
        case "a tensor is missing":
            missing = "model.decoder.layers.1.fc1.weight"
            write_weights(folder, {name: tensor for name, tensor in demo_tensors().items() if name != missing})
        case "a shard is missing":
            write_shards(folder, demo_tensors(), 3)[1].unlink()
        case "an index of nothing":
            (folder / "model.safetensors.index.json").write_text('{"weight_map": []}')
        case "an index that is no JSON":
            (folder / "model.safetensors.index.json").write_text("{")
        case "a tensor of another shape":
            name = "model.encoder.layers.0.self_attn.q_proj.weight"
            write_weights(folder, {**demo_tensors(), name: demo_tensors()[name][:, :10, None]})


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("cut off", "model.safetensors is damaged"),
        ("empty", "model.safetensors is damaged"),
        ("no safetensors", "model.safetensors is damaged"),
        ("no weights", "lacks model.safetensors"),
        ("a tensor is missing", "no tensor model.decoder.layers.1.fc1.weight"),
        ("a shard is missing", "lacks model-00002-of-00003.safetensors"),
        ("an index of nothing", "lacks weights"),
        ("an index that is no JSON", "index.json cannot be read"),
        ("a tensor of another shape", "q_proj.weight has the shape [256, 10, 1]"),
    ],
)
def test_damaged_weights_are_refused(tmp_path: Path, what: str, named: str) -> None:
    checkpoint = checkpoint_like_demo(tmp_path / "model", without=WEIGHTS)
    damage(checkpoint, what)
    assert_refused(checkpoint, tmp_path / "cache", named)


@pytest.mark.parametrize(
    ("name", "changes", "named"),
    [
        ("config.json", {"model_type": "wav2vec2"}, "type 'wav2vec2'"),
        ("config.json", {"encoder_layers": "six"}, "not as transformers writes"),
        ("config.json", {"encoder_layers": 9}, "no tensor model.encoder.layers.6"),
        ("config.json", {"vocab_size": None}, "not as transformers writes"),
        ("tokenizer.json", {"model": {}}, "not as transformers writes"),
        ("generation_config.json", {"lang_to_id": [1]}, "not as transformers writes"),
    ],
)
def test_wrong_configurations_are_refused(tmp_path: Path, name: str, changes: dict[str, Any], named: str) -> None:
    checkpoint = checkpoint_like_demo(tmp_path / "model", json_changes={name: changes})
    assert_refused(checkpoint, tmp_path / "cache", named)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_missing_and_unreadable_files_are_named(tmp_path: Path, name: str) -> None:
    checkpoint = checkpoint_like_demo(tmp_path / "model", without=(name,))
    assert_refused(checkpoint, tmp_path / "cache", f"has no {name}")
    (checkpoint / name).write_bytes(b"\xff{")
    assert_refused(checkpoint, tmp_path / "cache", f"{name} cannot be read")


def assert_refused(checkpoint: Path, cache: Path, named: str) -> None:
    with pytest.raises(StartError, match=r"^MODEL_ID: .*set ") as refusal:
        converted_folder(checkpoint, cache)
    assert named in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not list(cache.glob("*"))

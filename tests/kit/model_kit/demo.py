"""The demo model for tests, and tokenizers and checkpoints that differ from it in one detail."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from whisper_server.whisper.tokens import WhisperTokenizer

DEMO = Path(__file__).parents[3] / "models" / "whisper-demo"

Tensors = dict[str, npt.NDArray[Any]]


def model_cache(folder: Path) -> Path:
    """`folder`, made for MODEL_CACHE_DIR. What vLLM keeps in it lies in TEST_VLLM_CACHE, where that is set, for all starts."""
    folder.mkdir(parents=True, exist_ok=True)
    if kept := os.environ.get("TEST_VLLM_CACHE"):
        Path(kept).mkdir(parents=True, exist_ok=True)
        (folder / "vllm").symlink_to(kept)
    return folder


@cache
def demo_tokenizer() -> WhisperTokenizer:
    return WhisperTokenizer.from_folder(DEMO, is_multilingual=True)


def tokenizer_like_demo(change: Callable[[Any], None], *, is_multilingual: bool = True) -> WhisperTokenizer:
    """The demo's tokenizer.json with `change` applied to its JSON."""
    document = json.loads((DEMO / "tokenizer.json").read_text(encoding="utf-8"))
    change(document)
    return WhisperTokenizer(Tokenizer.from_str(json.dumps(document)), is_multilingual=is_multilingual)


@cache
def demo_tensors() -> Mapping[str, npt.NDArray[Any]]:
    return load_file(DEMO / "model.safetensors")


def checkpoint_like_demo(
    folder: Path, *, without: tuple[str, ...] = (), json_changes: Mapping[str, Mapping[str, Any]] | None = None
) -> Path:
    """A folder with links to the demo's files, except those in `without`, and with keys of its JSON files changed."""
    folder.mkdir(parents=True, exist_ok=True)
    changes = json_changes or {}
    for path in DEMO.iterdir():
        if path.is_dir() or path.name in without:
            continue
        if path.name in changes:
            document = json.loads(path.read_text(encoding="utf-8"))
            (folder / path.name).write_text(json.dumps(document | dict(changes[path.name])), encoding="utf-8")
        else:
            (folder / path.name).symlink_to(path)
    return folder


def write_weights(folder: Path, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, folder / "model.safetensors")


def write_shards(folder: Path, tensors: Mapping[str, npt.NDArray[Any]], n_shards: int) -> list[Path]:
    """Write the weights in shards with an index, as transformers does."""
    names = sorted(tensors)
    weight_map: dict[str, str] = {}
    paths = []
    for number in range(n_shards):
        path = folder / f"model-{number + 1:05}-of-{n_shards:05}.safetensors"
        part = names[number::n_shards]
        save_file({name: np.ascontiguousarray(tensors[name]) for name in part}, path)
        weight_map |= dict.fromkeys(part, path.name)
        paths.append(path)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return paths


def write_bfloat16(folder: Path, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write the weights in bfloat16, rounded to nearest. The file is built by hand because numpy lacks the type."""
    header: dict[str, Any] = {}
    pieces: list[bytes] = []
    offset = 0
    for name, tensor in tensors.items():
        bits = np.ascontiguousarray(tensor, dtype=np.float32).view(np.uint32)
        halves = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()
        header[name] = {
            "dtype": "BF16",
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(halves)],
        }
        offset += len(halves)
        pieces.append(halves)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"".join(pieces))

"""A Hugging Face Whisper checkpoint on disk: its configuration, its tensors as numpy arrays, whether it fits the settings.

Reads single and sharded safetensors, bfloat16 too, without torch. `convert` converts the tensors, `model_folder` finds the
folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from whisper_server.errors import StartError
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.tokens import WhisperTokenizer

Array = npt.NDArray[Any]


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """The JSON object in `folder/name`. Raises StartError where the file is missing or holds no JSON object."""
    path = folder / name
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StartError(f"MODEL_ID: {folder} has no {name}; set it to a whole Whisper checkpoint") from None
    except (OSError, ValueError) as error:
        raise StartError(f"MODEL_ID: {path} cannot be read: {error}; fetch it again, or set another model") from error
    if not isinstance(value, dict):
        raise StartError(f"MODEL_ID: {path} holds no JSON object; fetch it again, or set another model")
    return value


def read_optional_json(folder: Path, name: str) -> dict[str, Any]:
    """As `read_json`, but an absent file is an empty object."""
    return read_json(folder, name) if (folder / name).exists() else {}


def require_whisper(config: Mapping[str, Any], folder: Path) -> None:
    """Raises StartError where `config` describes another kind of model."""
    if config.get("model_type") != "whisper":
        kind = config.get("model_type", "unknown")
        raise StartError(
            f"MODEL_ID: {folder} is a model of type {kind!r}; set it to a Whisper checkpoint, this server runs no others"
        )


def require_sampling_rate(asked_hz: int, folder: Path) -> None:
    """Raises StartError where WHISPER_SAMPLING_RATE is not the rate that the model was trained on."""
    trained_hz = read_optional_json(folder, "preprocessor_config.json").get("sampling_rate", SAMPLE_RATE_HZ)
    if asked_hz != trained_hz or trained_hz != SAMPLE_RATE_HZ:
        raise StartError(
            f"WHISPER_SAMPLING_RATE: {asked_hz} does not fit the model, whose feature extractor says {trained_hz}; "
            f"leave it at {SAMPLE_RATE_HZ} (recordings of any rate are resampled)"
        )


def require_language(forced: str, tokenizer: WhisperTokenizer) -> None:
    """Raises StartError where the model does not know LANGUAGE_FORCE (empty: no language is forced)."""
    if forced and forced not in tokenizer.languages:
        raise StartError(
            f"LANGUAGE_FORCE: the model does not know {forced}; leave it empty or set it to one of "
            f"{', '.join(sorted(tokenizer.languages))}"
        )


def tensor_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files of a checkpoint, single or sharded. Raises StartError where one is missing."""
    index_path = folder / "model.safetensors.index.json"
    if index_path.exists():
        weight_map = read_json(folder, index_path.name).get("weight_map")
        names = sorted(set(weight_map.values())) if isinstance(weight_map, dict) else []
    else:
        names = ["model.safetensors"]
    missing = [name for name in names if not (folder / name).exists()]
    if missing or not names:
        raise StartError(
            f"MODEL_ID: {folder} lacks {', '.join(missing) or 'weights'}; set it to a whole checkpoint "
            "with safetensors weights (convert older .bin weights first) or to a CTranslate2 folder"
        )
    return tuple(folder / name for name in names)


class Tensors:
    """The tensors of a checkpoint by name; `get` reads them from disk."""

    def __init__(self, files: Mapping[str, tuple[Any, Path]]) -> None:
        self._files = files

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def shape(self, name: str) -> tuple[int, ...]:
        """Of one tensor, from its file's header. Raises StartError where it is missing."""
        return tuple(self._file(name)[0].get_slice(name).get_shape())

    def get(self, name: str) -> Array:
        """One tensor; bfloat16, which numpy lacks, is returned as float32. Raises StartError where it is missing."""
        return np.ascontiguousarray(_read(*self._file(name), name))

    def _file(self, name: str) -> tuple[Any, Path]:
        if name not in self._files:
            raise StartError(
                f"MODEL_ID: the checkpoint has no tensor {name}; set it to a whole checkpoint as transformers writes it"
            )
        return self._files[name]


@contextmanager
def open_tensors(folder: Path) -> Iterator[Tensors]:
    """The checkpoint's tensors, from all of its shards. Raises StartError for a damaged file."""
    with ExitStack() as stack:
        files: dict[str, tuple[Any, Path]] = {}
        for path in tensor_files(folder):
            try:
                file = stack.enter_context(safe_open(path, framework="numpy"))
            except (SafetensorError, OSError) as error:
                raise StartError(
                    f"MODEL_ID: {path} is damaged or cannot be read: {error}; fetch it again, or set another model"
                ) from error
            files |= dict.fromkeys(file.keys(), (file, path))
        yield Tensors(files)


def _read(file: Any, path: Path, name: str) -> Array:
    if file.get_slice(name).get_dtype() == "BF16":
        return _read_bfloat16(path, name)
    try:
        array: Array = file.get_tensor(name)
    except (SafetensorError, TypeError, AttributeError) as error:  # a quantized format that numpy lacks
        raise StartError(
            f"MODEL_ID: {path} holds {name} in a number format that cannot be read: {error}; "
            "set it to a checkpoint in float32, float16 or bfloat16"
        ) from error
    return array


def _read_bfloat16(path: Path, name: str) -> Array:
    """bfloat16 is the upper half of a float32 (format: github.com/huggingface/safetensors)."""
    with path.open("rb") as file:
        n_header_bytes = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(n_header_bytes))[name]
        begin, end = entry["data_offsets"]
        file.seek(8 + n_header_bytes + begin)
        halves = np.frombuffer(file.read(end - begin), dtype="<u2")
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])

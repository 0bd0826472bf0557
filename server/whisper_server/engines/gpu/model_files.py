"""What the engine needs from a checkpoint before vLLM loads it: sizes, token ids, alignment heads.

Reads JSON only. Refuses incomplete checkpoints and other models than Whisper before a GPU is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whisper_server.engines.checkpoint import open_tensors, read_json, read_optional_json, require_whisper
from whisper_server.engines.checkpoint_fit import alignment_heads, require_fit
from whisper_server.engines.gpu.model_facts import ModelShape, Vocabulary
from whisper_server.errors import StartError
from whisper_server.whisper.tokens import WhisperTokenizer


@dataclass(frozen=True)
class ModelFiles:
    """A checkpoint that vLLM can load."""

    folder: Path
    shape: ModelShape
    vocabulary: Vocabulary
    alignment_heads: tuple[tuple[int, int], ...]
    """(layer, head) of the decoder."""
    tokenizer: WhisperTokenizer

    @property
    def is_multilingual(self) -> bool:
        """False for the `.en` models."""
        return self.tokenizer.is_multilingual


def read_model_files(folder: Path) -> ModelFiles:
    """Raises StartError for anything but a whole Whisper checkpoint."""
    if (folder / "model.bin").exists() and not (folder / "model.safetensors").exists():
        raise StartError(
            f"MODEL_ID: {folder} is a CTranslate2 model, which vLLM cannot load; set it to a Hugging Face checkpoint, "
            "or set ENGINE=ctranslate2"
        )
    config = read_json(folder, "config.json")
    require_whisper(config, folder)
    generation = read_optional_json(folder, "generation_config.json")
    tokenizer = WhisperTokenizer.from_folder(folder, is_multilingual=_is_multilingual(config, generation))
    try:
        with open_tensors(folder) as tensors:  # the engine reads them
            require_fit(tensors, config)
        return ModelFiles(
            folder=folder,
            shape=_shape(config),
            vocabulary=_vocabulary(config, generation, tokenizer),
            alignment_heads=alignment_heads(config, generation),
            tokenizer=tokenizer,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StartError(
            f"MODEL_ID: {folder} is not as transformers writes Whisper checkpoints: {type(error).__name__} {error}; "
            "set it to another model"
        ) from error


def _is_multilingual(config: dict[str, Any], generation: dict[str, Any]) -> bool:
    """As in generation_config.json; without it, by the vocabulary's size: 51,864 in the `.en` models."""
    value = generation.get("is_multilingual")
    return bool(value) if value is not None else config.get("vocab_size", 0) != 51864


def _shape(config: dict[str, Any]) -> ModelShape:
    return ModelShape(
        width=int(config["d_model"]),
        encoder_layers=int(config["encoder_layers"]),
        decoder_layers=int(config["decoder_layers"]),
        feed_forward=max(int(config["encoder_ffn_dim"]), int(config["decoder_ffn_dim"])),
        n_tokens=int(config["vocab_size"]),
        n_text_positions=int(config["max_target_positions"]),
    )


def _vocabulary(config: dict[str, Any], generation: dict[str, Any], tokenizer: WhisperTokenizer) -> Vocabulary:
    special = tokenizer.special
    return Vocabulary(
        n_tokens=int(config["vocab_size"]),
        endoftext=special.endoftext,
        notimestamps=special.notimestamps,
        nospeech=special.endoftext if special.nospeech is None else special.nospeech,
        suppressed=tuple(generation.get("suppress_tokens", config.get("suppress_tokens")) or ()),
        suppressed_first=tuple(generation.get("begin_suppress_tokens", config.get("begin_suppress_tokens")) or ()),
        startoftranscript=special.startoftranscript,
        languages=tuple(special.languages.values()) if tokenizer.is_multilingual else (),
    )

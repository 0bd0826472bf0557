"""Settings → the engine and the tokenizer of the model, loaded and warm.

The one place that knows which engines there are.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from whisper_server.choices import EngineName
from whisper_server.engine_protocol import Engine
from whisper_server.engines.checkpoint import read_optional_json
from whisper_server.engines.ctranslate2 import Ctranslate2Config, Ctranslate2Engine
from whisper_server.engines.model_folder import model_folder
from whisper_server.errors import StartError
from whisper_server.settings import Settings
from whisper_server.tokens import WhisperTokenizer
from whisper_server.transcript import SAMPLE_RATE_HZ


async def load(settings: Settings) -> tuple[Engine, WhisperTokenizer]:
    """Find, load and warm up the model. Raises StartError."""
    if settings.engine is EngineName.VLLM:
        raise StartError("ENGINE: vllm is not in this build; set it to ctranslate2 or auto")
    folder = await asyncio.to_thread(
        model_folder,
        settings.model_id,
        revision=settings.model_revision,
        token=settings.hf_token,
        hf_home=settings.hf_home,
    )
    _require_sampling_rate(settings.whisper_sampling_rate, folder)
    engine = Ctranslate2Engine(
        Ctranslate2Config(
            model_id=settings.model_id,
            checkpoint=folder,
            cache=settings.converted_models_dir,
            dtype=settings.dtype,
            n_threads=settings.cpu_threads,
            max_batch_windows=settings.max_batch_windows,
        )
    )
    try:
        await engine.start()
        tokenizer = WhisperTokenizer.from_folder(folder, is_multilingual=engine.facts.is_multilingual)
        _require_language(settings.language_force, tokenizer)
    except StartError:
        await engine.stop()
        raise
    return engine, tokenizer


def _require_language(forced: str, tokenizer: WhisperTokenizer) -> None:
    if forced and forced not in tokenizer.languages:
        raise StartError(
            f"LANGUAGE_FORCE: the model does not know {forced}; leave it empty or set it to one of "
            f"{', '.join(sorted(tokenizer.languages))}"
        )


def _require_sampling_rate(asked_hz: int, folder: Path) -> None:
    trained_hz = read_optional_json(folder, "preprocessor_config.json").get("sampling_rate", SAMPLE_RATE_HZ)
    if asked_hz != trained_hz or trained_hz != SAMPLE_RATE_HZ:
        raise StartError(
            f"WHISPER_SAMPLING_RATE: {asked_hz} does not fit the model, whose feature extractor says {trained_hz}; "
            f"leave it at {SAMPLE_RATE_HZ} (recordings of any rate are resampled)"
        )

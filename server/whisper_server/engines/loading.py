"""Settings → the engine and the tokenizer of the model, loaded and warm; or its files alone, in their cache.

The one place that knows which engines exist. An engine's modules are imported only where it is chosen.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from whisper_runtime.choices import EngineName
from whisper_server.engines.checkpoint import read_json, require_language, require_sampling_rate, require_whisper
from whisper_server.engines.choice import chosen_engine
from whisper_server.engines.model_folder import model_folder
from whisper_server.errors import StartError
from whisper_server.settings import Settings
from whisper_server.whisper.engine_protocol import Engine
from whisper_server.whisper.tokens import WhisperTokenizer

log = logging.getLogger(__name__)


async def load(settings: Settings) -> tuple[Engine, WhisperTokenizer]:
    """Find, load and warm up the model. Raises StartError."""
    engine = await chosen_engine(settings)
    if engine is EngineName.TORCH:
        from whisper_server.engines.torch import load_torch

        return await load_torch(settings, await _checkpoint(settings))
    if engine is EngineName.VLLM:
        from whisper_server.engines.vllm.device import require_device
        from whisper_server.engines.vllm.loading import load_vllm

        gpu = await asyncio.to_thread(require_device)
        return await load_vllm(settings, await _checkpoint(settings), gpu)
    return await _load_ctranslate2(settings, await _checkpoint(settings))


def fetch(settings: Settings) -> None:
    """`whisper-server fetch`, the Job that preloads a volume: fetch the model without an engine. Raises StartError.

    Look whether it is a Whisper, and convert it for ENGINE=ctranslate2.
    """
    folder = model_folder(settings)
    if not (folder / "model.bin").exists():
        require_whisper(read_json(folder, "config.json"), folder)
        if settings.engine is EngineName.CTRANSLATE2:
            from whisper_server.engines.ctranslate2.convert import converted_folder

            converted_folder(folder, settings.converted_models_dir)
    log.info("Fetched %s", settings.model_id)


async def _checkpoint(settings: Settings) -> Path:
    """The folder of the model that the settings name."""
    folder = await asyncio.to_thread(model_folder, settings)
    require_sampling_rate(settings.whisper_sampling_rate, folder)
    return folder


async def _load_ctranslate2(settings: Settings, folder: Path) -> tuple[Engine, WhisperTokenizer]:
    from whisper_server.engines.ctranslate2.engine import Ctranslate2Config, Ctranslate2Engine

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
        require_language(settings.language_force, tokenizer)
    except StartError:
        await engine.stop()
        raise
    return engine, tokenizer

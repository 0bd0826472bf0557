"""`whisper-server fetch`: the model into its cache, without an engine: what a Kubernetes Job does before the first pod starts."""

from __future__ import annotations

import logging

from whisper_runtime.choices import EngineName
from whisper_server.engines.checkpoint import read_json, require_whisper
from whisper_server.engines.model_folder import model_folder
from whisper_server.settings import Settings

log = logging.getLogger(__name__)


def fetch(settings: Settings) -> None:
    """Fetch the model, look whether it is a Whisper, and convert it for ENGINE=ctranslate2. Raises StartError."""
    folder = model_folder(settings)
    if not (folder / "model.bin").exists():
        require_whisper(read_json(folder, "config.json"), folder)
        if settings.engine is EngineName.CTRANSLATE2:
            from whisper_server.engines.ctranslate2.convert import converted_folder

            converted_folder(folder, settings.converted_models_dir)
    log.info("Fetched %s", settings.model_id)

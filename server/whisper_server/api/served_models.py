"""The model names that requests may use. All of them mean the one model that is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from whisper_server.errors import ModelNotFound
from whisper_server.whisper.transcript import ServedModel

# OpenAI's names, so that code written for it runs unchanged.
DEFAULT_NAMES = (
    "whisper",
    "whisper-1",
    "gpt-transcribe",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-mini-transcribe-2025-12-15",
)
DIARIZING_NAMES = ("gpt-4o-transcribe-diarize",)


def served_models(
    names: Iterable[str], model_id: str, created: int, *, diarizes: bool = False
) -> Mapping[str, ServedModel]:
    """The given names, otherwise the default ones and the model's own; for a folder, its last part."""
    own_name = PurePath(model_id).name if model_id.startswith(("/", ".", "~")) else model_id
    chosen = tuple(names) or (*DEFAULT_NAMES, *(DIARIZING_NAMES if diarizes else ()), own_name)
    return {name: ServedModel(id=name, created=created) for name in chosen}


def find_model(models: Mapping[str, ServedModel], name: str) -> ServedModel:
    """Raises ModelNotFound, which lists the names that are served."""
    found = models.get(name)
    if found is None:
        raise ModelNotFound(
            f"The model `{name[:100]}` is not served here; these are: {', '.join(models)}.", param="model"
        )
    return found


def model_object(model: ServedModel) -> dict[str, Any]:
    """OpenAI's model object."""
    return {"id": model.id, "object": "model", "created": model.created, "owned_by": model.owned_by}

"""Finds or fetches the folder of the model that MODEL_ID names.

`demo` is the model that the project ships, a path is an existing folder, anything else is fetched by `model_sources`. The
engines check the folder's content.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from whisper_server.engines.model_sources import FetchError, fetch_model, is_address
from whisper_server.errors import StartError
from whisper_server.settings import ModelSettings

DEMO = "demo"
DEMO_FOLDERS = (
    Path(__file__).parents[3] / "models" / "whisper-demo",  # a checkout
    Path("/models/whisper-demo"),  # an image
)


def model_folder(settings: ModelSettings) -> Path:
    """The folder of the model that MODEL_ID names, fetched if necessary. Raises StartError."""
    model_id = settings.model_id
    if model_id == DEMO:
        return _demo_folder()
    if not is_address(model_id):
        folder = _local_folder(model_id)
        if folder is not None:
            return folder
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", model_id) or model_id.startswith("."):
            raise StartError(
                f"MODEL_ID: {model_id} is no folder here, no Hugging Face id (owner/name) and no address "
                f"(oci://, s3://, https://); set it to one of them or to {DEMO!r}"
            )
    return _fetched(settings)


def _local_folder(model_id: str) -> Path | None:
    """The folder of that name, None if it does not exist. Raises StartError if this user may not read it."""
    folder = Path(model_id)
    try:
        if not folder.is_dir():
            return None
        for path in folder.iterdir():
            path.lstat()
    except OSError as error:
        raise StartError(
            f"MODEL_ID: {model_id} cannot be read: {error.strerror}; set it to a folder that user {os.getuid()} may read"
        ) from error
    return folder


def _demo_folder() -> Path:
    for folder in DEMO_FOLDERS:
        if (folder / "config.json").exists():
            return folder
    raise StartError(
        "MODEL_ID: the demo model is missing; it should be in "
        f"{' and '.join(map(str, DEMO_FOLDERS))}: set MODEL_ID to a folder or a Hugging Face id"
    )


def _fetched(settings: ModelSettings) -> Path:
    model_id = settings.model_id
    try:
        return fetch_model(settings)
    except (FetchError, OSError) as error:
        full = _cause_with_errno(error, errno.ENOSPC) or _cause_with_errno(error, errno.EDQUOT)
        if full is not None:
            raise StartError(
                f"HF_HOME: {model_id} does not fit into {settings.hf_home or 'the cache'}: {full.strerror}; make room there, "
                "or set it to another folder"
            ) from error
        if isinstance(error, OSError):
            raise StartError(
                f"HF_HOME: {model_id} cannot be written to {settings.downloads_dir}: {error.strerror or error}; "
                f"set it to a folder that user {os.getuid()} may write"
            ) from error
        raise StartError(f"{error.setting}: {model_id} cannot be fetched: {error.reason}; {error.remedy}") from error


def _cause_with_errno(error: BaseException | None, number: int) -> OSError | None:
    """The OSError with this errno among the causes of `error`, None if there is none."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == number:
            return error
        error = error.__cause__ or error.__context__
    return None

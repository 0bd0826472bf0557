"""Finds or fetches the folder of the model that MODEL_ID names.

`demo` is the model that the project ships, a path is an existing folder, anything else is a Hugging Face id, which is
fetched into the hub's own cache. The engines check the folder's content.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

from whisper_server.errors import StartError

log = logging.getLogger(__name__)

DEMO = "demo"
DEMO_FOLDERS = (
    Path(__file__).parents[3] / "models" / "whisper-demo",  # a checkout
    Path("/models/whisper-demo"),  # an image
)
FILES = ("*.json", "*.safetensors", "model.bin", "vocabulary.*")
OTHER_FILES = ("*/*", "*.fp32*")
"""Copies for other programs, and the second, larger set of weights that some repositories have."""


def model_folder(model_id: str, *, revision: str, token: str, hf_home: Path | None) -> Path:
    """The folder of `model_id`, fetched if necessary. Raises StartError."""
    if model_id == DEMO:
        return _demo_folder()
    folder = _local_folder(model_id)
    if folder is not None:
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model_id) or model_id.startswith("."):
        raise StartError(
            f"MODEL_ID: {model_id} is no folder here and no Hugging Face id (owner/name); "
            f"set it to one of them or to {DEMO!r}"
        )
    return _fetch(model_id, revision=revision, token=token, hf_home=hf_home)


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


def _fetch(model_id: str, *, revision: str, token: str, hf_home: Path | None) -> Path:
    # Imported here: a server with a local folder starts without them.
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()  # in a log, they would print a line per second that is no record
    log.info("Fetching %s, revision %s, from the hub unless cached", model_id, revision)

    def snapshot(*, local_files_only: bool) -> Path:
        path = snapshot_download(
            model_id,
            revision=revision,
            token=token or None,
            cache_dir=hf_home / "hub" if hf_home else None,
            allow_patterns=list(FILES),
            ignore_patterns=list(OTHER_FILES),
            local_files_only=local_files_only,
        )
        return Path(path)

    try:
        return snapshot(local_files_only=False)
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx.HTTPError, OSError, ValueError) as error:
        # Without a network the library does not find a commit that an older version of it has fetched.
        with suppress(LocalEntryNotFoundError, ValueError):
            return snapshot(local_files_only=True)
        full = _cause_with_errno(error, errno.ENOSPC) or _cause_with_errno(error, errno.EDQUOT)
        if full is not None:
            raise StartError(
                f"HF_HOME: {model_id} does not fit into {hf_home or 'the cache'}: {full.strerror}; make room there, "
                "or set it to another folder"
            ) from error
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise StartError(
            f"MODEL_ID: {model_id} (MODEL_REVISION {revision}) cannot be fetched: {reason}; "
            "check the name, HF_TOKEN and the network, or set MODEL_ID to a folder"
        ) from error


def _cause_with_errno(error: BaseException | None, number: int) -> OSError | None:
    """The OSError with this errno among the causes of `error`, None if there is none."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == number:
            return error
        error = error.__cause__ or error.__context__
    return None

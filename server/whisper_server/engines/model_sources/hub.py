"""A model of the Hugging Face hub, fetched into the hub's own cache."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

import httpx
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from whisper_server.engines.model_sources.fetch_error import FetchError, one_line
from whisper_server.engines.model_sources.model_files import FILES, OTHER_FILES
from whisper_server.engines.model_sources.progress import Progress, hub_bar
from whisper_server.settings import ModelSettings

log = logging.getLogger(__name__)


def fetch_from_hub(settings: ModelSettings) -> Path:
    """The snapshot's folder. Raises FetchError, also for a full disk: whatever the library raises, it is a cause of it."""
    model_id, revision = settings.model_id, settings.model_revision
    log.info("Fetching %s, revision %s, from the hub unless cached", model_id, revision)
    progress = Progress(model_id)

    def snapshot(*, local_files_only: bool) -> Path:
        path = snapshot_download(
            model_id,
            revision=revision,
            token=settings.hf_token or None,
            cache_dir=settings.hf_home / "hub" if settings.hf_home else None,
            allow_patterns=list(FILES),
            ignore_patterns=list(OTHER_FILES),
            local_files_only=local_files_only,
            tqdm_class=hub_bar(progress),
        )
        return Path(path)

    try:
        folder = snapshot(local_files_only=False)
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx.HTTPError, OSError, ValueError) as error:
        # Without a network the library does not find a commit that an older version of it has fetched.
        with suppress(LocalEntryNotFoundError, ValueError):
            return snapshot(local_files_only=True)
        raise FetchError(
            f"revision {revision}: {one_line(error)}",
            "check the name, MODEL_REVISION, HF_TOKEN and the network, or set it to a folder",
        ) from error
    progress.end()
    return folder

"""MODEL_ID → the source that it names, and the folder that the model is fetched into.

A source's libraries are imported only where it is chosen.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from whisper_server.engines.model_sources.fetch_error import FetchError
from whisper_server.settings import ModelSettings

OCI = re.compile(r"oci://([^\s/@:?#]+(?::[0-9]+)?)/([a-z0-9._/-]+)(?::([\w.-]+))?(?:@(sha256:[0-9a-f]{64}))?")
S3 = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(/[^\s?#]*)?")
WEB = re.compile(r"https?://[^\s/@?#]+/[^\s@?#]+")
FORMS = {
    "oci": "oci://registry/repository:tag or oci://registry/repository@sha256:…",
    "s3": "s3://bucket/prefix",
    "https": "https://host/path, without a password and without a query: the model's id is public",
    "http": "http://host/path, without a password and without a query: the model's id is public",
}


def is_address(model_id: str) -> bool:
    """Whether it begins with a scheme, as neither a folder nor a Hugging Face id does."""
    return "://" in model_id


def fetch_model(settings: ModelSettings) -> Path:
    """The folder of the model that MODEL_ID names, fetched unless it is there. Raises FetchError, or OSError of a full disk."""
    model_id = settings.model_id
    if not is_address(model_id):
        from whisper_server.engines.model_sources.hub import fetch_from_hub

        return fetch_from_hub(settings)
    from whisper_server.engines.model_sources.downloads import Source, fetched_folder

    source: Source
    if found := OCI.fullmatch(model_id):
        from whisper_server.engines.model_sources.registry import Artifact
        from whisper_server.engines.model_sources.registry_client import RegistryClient

        registry, repository, tag, digest = found.groups(default="")
        client = RegistryClient(registry, repository, settings.docker_config or Path.home() / ".docker")
        source = Artifact(client, tag or "latest", digest)
    elif found := S3.fullmatch(model_id):
        from whisper_server.engines.model_sources.bucket import Bucket

        source = Bucket(found[1], (found[2] or "").strip("/"), settings)
    elif WEB.fullmatch(model_id):
        from whisper_server.engines.model_sources.web import WebArchive

        if model_id.startswith("http:") and not settings.model_sha256:
            raise FetchError(
                "plain http lets anyone on the way change the model",
                "set it to the archive's, as sha256sum prints it, or use https",
                setting="MODEL_SHA256",
            )
        source = WebArchive(model_id, settings.model_sha256)
    else:
        scheme = model_id.partition("://")[0]
        raise FetchError(
            "no such address", f"write {FORMS.get(scheme, 'one that begins with oci://, s3:// or https://')}"
        )
    return fetched_folder(model_id, source, settings.downloads_dir / "fetched" / _key(settings))


def _key(settings: ModelSettings) -> str:
    """Names the folder of the copies: a bucket of the same name elsewhere is another bucket."""
    elsewhere = settings.aws_endpoint_url if settings.model_id.startswith("s3:") else settings.model_sha256
    return hashlib.sha256(f"{settings.model_id} {elsewhere}".encode()).hexdigest()[:32]

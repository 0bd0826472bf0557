"""What a pull from an OCI registry takes: manifests and blobs.

Own code over httpx: oras-py brings nine packages, waits two minutes for a wrong password as for a lost connection, knows no
timeouts and no ranges, and takes a password or a token, as its caller has to know beforehand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from whisper_server.engines.model_sources.fetch_error import FetchError
from whisper_server.engines.model_sources.http_get import body_from, get
from whisper_server.engines.model_sources.registry_credentials import (
    DOCKER_HUB,
    LOOPBACK,
    NO_ACCESS,
    Credentials,
    refused_access,
)

Json = Mapping[str, Any]

MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
"""As the specification has it."""


class RegistryClient:
    """One repository of a registry. Every method raises FetchError."""

    def __init__(self, registry: str, repository: str, docker_config: Path) -> None:
        host = DOCKER_HUB[1] if registry == DOCKER_HUB[0] else registry
        # Docker, too, speaks plain HTTP with this machine only.
        scheme = "http" if registry.rpartition(":")[0] in LOOPBACK else "https"
        self._url = f"{scheme}://{host}/v2/{repository}"
        self._credentials = Credentials.read(registry, docker_config / "config.json")
        self._authorization: dict[str, str] = {}

    def manifest(self, reference: str) -> tuple[Json, str]:
        """The manifest of a tag or digest, and its digest."""
        with closing(self._get(f"manifests/{reference}", {"Accept": ", ".join(MANIFEST_TYPES)})) as response:
            content = b""
            for chunk in body_from(response, 0)[1]:
                content += chunk
                if len(content) > MAX_MANIFEST_BYTES:
                    raise FetchError(f"its manifest has more than {MAX_MANIFEST_BYTES} bytes", "check the address")
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if reference.startswith("sha256:") and reference != digest:
            raise FetchError(f"the registry sends {digest} instead", "look for what changes it on the way")
        try:
            manifest = json.loads(content)
        except ValueError as error:
            raise FetchError(f"its manifest is no JSON ({error})", "check that the address is a registry's") from error
        return (manifest if isinstance(manifest, dict) else {}), digest

    def blob(self, digest: str, offset: int) -> tuple[int, Iterator[bytes]]:
        """Where the bytes begin, and the bytes."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        return body_from(self._get(f"blobs/{digest}", headers), offset)

    def _get(self, path: str, headers: dict[str, str]) -> httpx.Response:
        url = f"{self._url}/{path}"
        response = get(url, {**headers, **self._authorization})
        # At the start, and whenever a token has expired. Of another host, to which blobs are redirected, nothing is believed: it could
        # name a server of its own that then gets the password.
        if response.status_code == httpx.codes.UNAUTHORIZED and response.url.host == httpx.URL(url).host:
            response.close()
            self._authorization = self._credentials.authorization(response.headers.get("www-authenticate", ""))
            response = get(url, {**headers, **self._authorization})
        if response.is_success:
            return response
        response.close()
        if response.status_code in NO_ACCESS:
            raise refused_access(response.status_code)
        if response.status_code == httpx.codes.NOT_FOUND:
            raise FetchError("the registry has no such repository, tag or digest (404)", "check the address")
        raise FetchError(f"the registry answers {response.status_code}", "check the address, and the registry's log")

"""What a pull from an OCI registry takes: manifests, blobs, and the password or token that it asks for.

Own code over httpx: oras-py brings nine packages, waits two minutes for a wrong password as for a lost connection, knows no
timeouts and no ranges, and takes a password or a token, as its caller has to know beforehand.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from whisper_server.engines.model_sources.fetch_error import ConnectionLost, FetchError
from whisper_server.engines.model_sources.http_get import body_from, get

Json = Mapping[str, Any]

MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
"""As the specification has it."""
DOCKER_HUB = ("docker.io", "registry-1.docker.io")
DOCKER_HUB_KEY = "https://index.docker.io/v1/"
LOOPBACK = ("localhost", "127.0.0.1")
MAX_TOKEN_BYTES = 1024 * 1024
"""Of a token server's answer; tokens have some kB."""
BEARER = re.compile(r"(?:^|[\s,])bearer\s+(.+)", re.IGNORECASE)
"""Of WWW-Authenticate, as Docker Hub, GHCR, GitLab, Quay and Harbor ask for tokens (distribution/docs/spec/auth/token.md)."""
PARAMETER = re.compile(r'\b([a-z_]+)=(?:"([^"]*)"|([^\s,"]+))')
TOKEN = re.compile(r"[\x21-\x7e]+")


class RegistryClient:
    """One repository of a registry. Every method raises FetchError."""

    def __init__(self, registry: str, repository: str, docker_config: Path) -> None:
        host = DOCKER_HUB[1] if registry == DOCKER_HUB[0] else registry
        # Docker, too, speaks plain HTTP with this machine only.
        scheme = "http" if registry.rpartition(":")[0] in LOOPBACK else "https"
        self._url = f"{scheme}://{host}/v2/{repository}"
        self._password = _password_for(registry, docker_config / "config.json")
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
            self._authorization = self._authorized(response.headers.get("www-authenticate", ""))
            response = get(url, {**headers, **self._authorization})
        if response.is_success:
            return response
        response.close()
        raise _refused(response.status_code)

    def _authorized(self, challenge: str) -> dict[str, str]:
        """The header that answers the registry's challenge: its own password, or a token that another server gives for it."""
        basic = {"Authorization": f"Basic {self._password}"} if self._password else {}
        bearer = BEARER.search(challenge)
        if bearer is None:
            return basic
        # A challenge of another kind may follow: the first of two realms is the one of the tokens.
        asked = {key: quoted or plain for key, quoted, plain in reversed(PARAMETER.findall(bearer[1]))}
        query = {key: asked[key] for key in ("service", "scope") if key in asked}
        realm = _realm(asked.get("realm", ""), query)
        with closing(get(str(realm), basic)) as response:
            if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
                raise _refused(response.status_code)
            token = _token_in(response) if response.is_success else ""
        if not token:
            raise FetchError(
                f"{realm.host}, where the registry gets its tokens, gives none ({response.status_code})",
                "check that server's log",
            )
        return {"Authorization": f"Bearer {token}"}


def _realm(address: str, query: Mapping[str, str]) -> httpx.URL:
    """Where to ask for a token: with TLS, but on this machine."""
    try:
        realm = httpx.URL(address).copy_merge_params(query)
    except httpx.InvalidURL:
        realm = httpx.URL()
    if not (realm.scheme == "https" or (realm.scheme == "http" and realm.host in LOOPBACK)):
        raise FetchError(
            f"the registry gets its tokens at {address[:200] or 'no address'}, which is no https address",
            "give the registry another realm",
        )
    return realm


def _token_in(response: httpx.Response) -> str:
    """Empty: the answer has none that a header can hold."""
    content = b""
    try:
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > MAX_TOKEN_BYTES:
                return ""
        answer = json.loads(content)
    except httpx.HTTPError as error:
        raise ConnectionLost(error) from error
    except (ValueError, RecursionError):
        return ""
    token = (answer.get("token") or answer.get("access_token")) if isinstance(answer, dict) else None
    return token if isinstance(token, str) and TOKEN.fullmatch(token) else ""


def _refused(status: int) -> FetchError:
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return FetchError(
            f"the registry refuses the password, or there is none ({status})",
            "put one for this registry into config.json, and check that it may pull",
            setting="DOCKER_CONFIG",
        )
    if status == httpx.codes.NOT_FOUND:
        return FetchError("the registry has no such repository, tag or digest (404)", "check the address")
    return FetchError(f"the registry answers {status}", "check the address, and the registry's log")


def _password_for(registry: str, config: Path) -> str:
    """`user:password` in base64, as Docker's configuration has it; empty: none for this registry."""
    try:
        auths = json.loads(config.read_text(encoding="utf-8")).get("auths") or {}
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, AttributeError) as error:
        raise FetchError(
            f"{config} cannot be read: {error}", "write what `docker login` writes", setting="DOCKER_CONFIG"
        ) from error
    names = [registry, f"https://{registry}", f"https://{registry}/"]
    entry: Json = next(
        (auths[name] for name in names + [DOCKER_HUB_KEY] * (registry in DOCKER_HUB) if name in auths), {}
    )
    if entry.get("auth"):
        return str(entry["auth"])
    if "username" in entry:
        return base64.b64encode(f"{entry['username']}:{entry.get('password', '')}".encode()).decode()
    return ""

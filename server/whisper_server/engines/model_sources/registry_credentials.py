"""What `docker login` has written for a registry, and the header that answers the registry's challenge with it.

The sources: distribution/docs/spec/auth/token.md (a password gets a token) and oauth.md (an identity token gets one).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from whisper_server.engines.model_sources.fetch_error import ConnectionLost, FetchError
from whisper_server.engines.model_sources.http_get import get, post_form

DOCKER_HUB = ("docker.io", "registry-1.docker.io")
DOCKER_HUB_KEY = "https://index.docker.io/v1/"
LOOPBACK = ("localhost", "127.0.0.1")
NO_ACCESS = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)
CLIENT_ID = "whisper-server"
MAX_TOKEN_BYTES = 1024 * 1024
"""Of a token server's answer; tokens have some kB."""
BEARER = re.compile(r"(?:^|[\s,])bearer\s+(.+)", re.IGNORECASE)
"""Of WWW-Authenticate, as Docker Hub, GHCR, GitLab, Quay and Harbor ask for tokens."""
PARAMETER = re.compile(r'\b([a-z_]+)=(?:"([^"]*)"|([^\s,"]+))')
TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Credentials:
    """Empty: `config.json` has none for this registry."""

    password: str = ""
    """`user:password` in base64."""
    identity_token: str = ""
    """An OAuth refresh token, which Azure's registry gives instead of a password."""

    @classmethod
    def read(cls, registry: str, config: Path) -> Credentials:
        """Raises FetchError."""
        try:
            auths = json.loads(config.read_text(encoding="utf-8")).get("auths") or {}
            names = [registry, f"https://{registry}", f"https://{registry}/"]
            names += [DOCKER_HUB_KEY] * (registry in DOCKER_HUB)
            entry: Mapping[str, Any] = next((auths[name] for name in names if auths.get(name)), {})
            password = entry.get("auth")
            if not password and "username" in entry:
                password = base64.b64encode(f"{entry['username']}:{entry.get('password', '')}".encode()).decode()
            return cls(str(password or ""), str(entry.get("identitytoken") or ""))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise FetchError(
                f"{config} cannot be read: {error}", "write what `docker login` writes", setting="DOCKER_CONFIG"
            ) from error

    def authorization(self, challenge: str) -> dict[str, str]:
        """The header that answers WWW-Authenticate: the password, or a token that another server gives. Raises FetchError."""
        basic = {"Authorization": f"Basic {self.password}"} if self.password else {}
        bearer = BEARER.search(challenge)
        if bearer is None:
            return basic
        # A challenge of another kind may follow: the first of two realms is the one of the tokens.
        asked = {key: quoted or plain for key, quoted, plain in reversed(PARAMETER.findall(bearer[1]))}
        query = {key: asked[key] for key in ("service", "scope") if key in asked}
        realm = _realm(asked.get("realm", ""))
        if self.identity_token:
            form = {"grant_type": "refresh_token", "refresh_token": self.identity_token, "client_id": CLIENT_ID}
            answer = post_form(str(realm), {**form, **query})
        else:
            answer = get(str(realm.copy_merge_params(query)), basic)
        with closing(answer) as response:
            # 400 is what OAuth servers say of a refresh token that is not good.
            if response.status_code in NO_ACCESS or (self.identity_token and response.status_code == 400):
                raise refused_access(response.status_code, "identity token" if self.identity_token else "password")
            token = _token_in(response) if response.is_success else ""
        if not token:
            raise FetchError(
                f"{realm.host}, where the registry gets its tokens, gives none ({response.status_code})",
                "check that server's log",
            )
        return {"Authorization": f"Bearer {token}"}


def refused_access(status: int, credential: str = "password") -> FetchError:
    return FetchError(
        f"the registry refuses the {credential}, or there is none ({status})",
        "put one for this registry into config.json, and check that it may pull",
        setting="DOCKER_CONFIG",
    )


def _realm(address: str) -> httpx.URL:
    """Where to ask for a token: with TLS, but on this machine."""
    try:
        realm = httpx.URL(address)
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

"""A token server of a registry, as Docker Hub and GHCR have one: it signs what a user may pull (distribution's token.md).

Repositories below PUBLIC are for all; others are for its users.
"""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from model_kit.file_server import in_thread

SERVICE, ISSUER = "registry.test", "tokens.test"
PUBLIC = "public/"
VALID_S = 300


@dataclass
class TokenServer:
    """A server that is up."""

    realm: str
    folder: Path
    passwords: Mapping[str, str]
    asked: list[tuple[str, int]] = field(default_factory=list)
    """Scope and status of each answer."""

    @property
    def certificate(self) -> Path:
        return self.folder / "tokens.crt"

    def answer(self, query: Mapping[str, list[str]], authorization: str) -> tuple[int, bytes]:
        (scope,) = query["scope"]
        kind, name, actions = scope.split(":")
        allowed = authorization in {f"Basic {_packed(f'{user}:{word}')}" for user, word in self.passwords.items()}
        refused = query["service"] != [SERVICE] or (authorization and not allowed)
        status = 401 if refused or not (allowed or name.startswith(PUBLIC)) else 200
        self.asked.append((scope, status))
        access: list[dict[str, object]] = [{"type": kind, "name": name, "actions": actions.split(",")}]
        return status, json.dumps({"token": self._token(access)} if status == 200 else {"details": "no"}).encode()

    def _token(self, access: list[dict[str, object]]) -> str:
        now = int(time.time())
        certificate = "".join(self.certificate.read_text().splitlines()[1:-1])
        claims = {
            "iss": ISSUER,
            "sub": "",
            "aud": SERVICE,
            "iat": now,
            "nbf": now - 10,
            "exp": now + VALID_S,
            "jti": "1",
        }
        header = {"typ": "JWT", "alg": "RS256", "x5c": [certificate]}
        signed = f"{_url_packed(json.dumps(header))}.{_url_packed(json.dumps({**claims, 'access': access}))}"
        sign = ["openssl", "dgst", "-sha256", "-sign", str(self.folder / "tokens.key")]
        signature = subprocess.run(sign, input=signed.encode(), capture_output=True, check=True).stdout
        return f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


@contextmanager
def serving(folder: Path, passwords: Mapping[str, str]) -> Iterator[TokenServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    tokens = TokenServer(f"http://127.0.0.1:{server.server_address[1]}/token", folder, passwords)
    key = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(folder / "tokens.key")]
    make = ["openssl", "req", "-x509", *key, "-out", str(tokens.certificate), "-subj", f"/CN={ISSUER}", "-days", "2"]
    subprocess.run(make, capture_output=True, check=True)
    server.tokens = tokens  # type: ignore[attr-defined]
    with in_thread(server):
        yield tokens


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        tokens: TokenServer = self.server.tokens  # type: ignore[attr-defined]
        query = parse_qs(urlsplit(self.path).query)
        status, body = tokens.answer(query, self.headers.get("Authorization", ""))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """What is asked is noted, not printed."""


def _packed(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _url_packed(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

"""Short-lived keys for browsers: signed with the client's own key, so that every replica knows them and none keeps them.

A secret holds the client's name, its expiry and the session's configuration, and is signed with HMAC-SHA256. It ends with the
client's key. `keys` has the keys. Until the signature is checked, only the name is read: it says which key has signed.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping

from aiohttp import web

from whisper_server.api.realtime_client_events import parse_json
from whisper_server.api.realtime_session import SessionConfig
from whisper_server.errors import BadRequest, InvalidApiKey
from whisper_server.http.keys import KeyRing, key_in

PREFIX = "ek_"
MIN_LIFETIME_S = 10
MAX_LIFETIME_S = 7200
DEFAULT_LIFETIME_S = 600
MAX_SESSION_BYTES = 3_000
"""The secret travels in a header, which may have 8 KB."""


class ClientSecrets:
    """Issues secrets and reads them."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def issue(self, client: str, expires_at: int, session: object) -> str:
        """A secret of a client. Raises BadRequest for a configuration that is too large for a header."""
        payload = json.dumps([expires_at, session], separators=(",", ":")).encode()
        if len(payload) > MAX_SESSION_BYTES:
            raise BadRequest(
                f"session: at most {MAX_SESSION_BYTES} bytes of configuration fit into a client secret; send the rest "
                "in session.update.",
                param="session",
            )
        name = client.encode("utf-8", "surrogateescape")
        return f"{PREFIX}{_text(name)}.{_text(payload)}.{_text(self._keys.signature(client, payload))}"

    def read(self, secret: str) -> tuple[str, SessionConfig]:
        """The client, and the session's configuration. Raises InvalidApiKey."""
        try:
            name, payload, signature = (_bytes(part) for part in secret.removeprefix(PREFIX).split("."))
        except ValueError:
            raise InvalidApiKey("The client secret is not valid. Ask your own server for a new one.") from None
        client = name.decode("utf-8", "surrogateescape")
        if not self._keys.is_signature(client, payload, signature):
            raise InvalidApiKey(
                "The client secret is not valid, or its key is no longer. Ask your own server for a new one."
            )
        expires_at, config = _content(payload)
        if time.time() >= expires_at:
            raise InvalidApiKey("The client secret has expired. Ask your own server for a new one.")
        return client, config


CLIENT_SECRETS = web.AppKey("client_secrets", ClientSecrets)
SECRET_SESSION = web.RequestKey("secret_session", SessionConfig)
"""The configuration that the request's client secret holds."""


def client_of(request: web.Request, keys: KeyRing, client_secrets: ClientSecrets) -> str:
    """The client of a request to `/v1/realtime`, by its key or by a client secret. Raises InvalidApiKey.

    A key of the administrator's that looks like a secret is a key.
    """
    key = key_in(request.headers)
    if key is None or not key.startswith(PREFIX.encode()) or keys.client_with(key):
        return keys.client_of(request.headers)
    client, request[SECRET_SESSION] = client_secrets.read(key.decode("utf-8", "replace"))
    return client


def read_lifetime(expires_after: object) -> int:
    """Seconds, from `expires_after`. Raises BadRequest."""
    if expires_after is None:
        return DEFAULT_LIFETIME_S
    if not isinstance(expires_after, Mapping) or set(expires_after) - {"anchor", "seconds"}:
        raise BadRequest('expires_after: send {"anchor": "created_at", "seconds": 600}.', param="expires_after")
    if expires_after.get("anchor", "created_at") != "created_at":
        raise BadRequest("expires_after.anchor: send created_at.", param="expires_after.anchor")
    seconds = expires_after.get("seconds", DEFAULT_LIFETIME_S)
    if type(seconds) is not int or not MIN_LIFETIME_S <= seconds <= MAX_LIFETIME_S:
        raise BadRequest(
            f"expires_after.seconds: send a whole number from {MIN_LIFETIME_S} to {MAX_LIFETIME_S}.",
            param="expires_after.seconds",
        )
    return seconds


def _content(payload: bytes) -> tuple[int, SessionConfig]:
    """The expiry and the session of a signed payload, which a client that knows its key can make by itself. Raises InvalidApiKey."""
    try:
        match parse_json(payload):
            case [int() as expires_at, session]:
                return expires_at, SessionConfig() if session is None else SessionConfig().updated(session)
        reason = "is not one that this server makes"
    except ValueError:
        reason = "cannot be read"
    except BadRequest as error:
        reason = f"has a wrong configuration: {error.message.rstrip('.')}"
    raise InvalidApiKey(f"The client secret {reason}. Ask your own server for a new one.")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)

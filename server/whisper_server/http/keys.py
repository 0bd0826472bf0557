"""API keys from a folder such as a mounted Kubernetes Secret: one file per client, named after the client.

The whole folder is read again every few seconds: an update of a Secret swaps a symlink below the file names, which
the files' time stamps do not show. Keys are kept as digests only.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from whisper_server.errors import InvalidApiKey

log = logging.getLogger(__name__)

MIN_KEY_BYTES = 8
MIN_DISTINCT_BYTES = 4
"""A key that is shorter or more uniform can be guessed by trying."""
MAX_KEY_BYTES = 4096
KEY_HEADERS = ("api-key", "x-api-key")
KEY_PROTOCOL = "openai-insecure-api-key."
UTF8_BOM = b"\xef\xbb\xbf"
GONE = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM}
"""Errors of the folder itself. Any other error is temporary: too many open files, a disk that fails to answer."""


@dataclass(frozen=True)
class KeysFound:
    """The folder's keys when it was last read."""

    digests: Mapping[str, bytes]
    """Digest of the key, by client."""
    problems: tuple[str, ...] = ()
    is_certain: bool = True
    """False if a temporary error hid the folder's content."""


class KeyRing:
    """The accepted keys; without a folder the server needs no key."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._found: KeysFound | None = None
        if folder is not None:
            self._keep(read_keys(folder))

    @property
    def is_open(self) -> bool:
        """True if no key is needed."""
        return self._folder is None

    def client_of(self, headers: Mapping[str, str]) -> str:
        """Name of the client whose key is in these headers. Raises InvalidApiKey."""
        if self._folder is None:
            return ""
        key = key_in(headers)
        if key is None:
            raise InvalidApiKey(
                "You didn't provide an API key. Send it in an Authorization header: `Authorization: Bearer YOUR_KEY` "
                "(or in an `api-key` or `x-api-key` header)."
            )
        found = self.client_with(key)
        if not found:
            raise InvalidApiKey("Incorrect API key provided. Ask the administrator of this server for a valid one.")
        return found

    def client_with(self, key: bytes) -> str:
        """Name of the client that has this key; empty if it is no key."""
        digest = _digest(key)
        found = ""
        for name, known in self._found.digests.items() if self._found else ():
            # No early exit: the time must not reveal which key is similar.
            if hmac.compare_digest(digest, known):
                found = name
        return found

    def signature(self, client: str, payload: bytes) -> bytes:
        """HMAC-SHA256 of something that this client may show later. Replicas with the same keys sign alike."""
        digest = (self._found.digests.get(client) if self._found else None) or _digest(b"")
        return hmac.digest(digest, b"client secret\0" + payload, "sha256")

    def is_signature(self, client: str, payload: bytes, signature: bytes) -> bool:
        """Whether `signature` signs the payload with a key that is in use; without keys, for the client without a name."""
        known = self._found.digests if self._found else {"": b""}
        return client in known and hmac.compare_digest(self.signature(client, payload), signature)

    async def keep_fresh(self, every_s: float) -> None:
        """Loop: read the folder every `every_s` seconds, off the event loop, until cancelled."""
        while self._folder is not None:
            await asyncio.sleep(every_s)
            self._keep(await asyncio.to_thread(read_keys, self._folder))

    def _keep(self, found: KeysFound) -> None:
        if not found.is_certain and self._found is not None:
            log.warning("API_KEYS_DIR=%s: %s; keeping the previous keys", self._folder, "; ".join(found.problems))
            return
        if found == self._found:
            return
        self._found = found
        for problem in found.problems:
            log.warning("API_KEYS_DIR=%s: %s", self._folder, problem)
        if found.digests:
            log.info("API keys in use: %s", ", ".join(found.digests))
        else:
            log.error("API_KEYS_DIR=%s holds no key: every request is refused until it does", self._folder)


def key_in(headers: Mapping[str, str]) -> bytes | None:
    """The bearer token; without one, the key in `api-key` (Azure's clients) or `x-api-key` (API gateways'), or in a
    subprotocol, where browsers have it, which cannot send headers with a WebSocket.
    """
    token = bearer_token(headers.get("Authorization"))
    if token is not None:
        return token
    for name in KEY_HEADERS:
        key = headers.get(name, "").strip()
        if key:
            return key.encode("utf-8", "surrogateescape")
    for protocol in headers.get("Sec-WebSocket-Protocol", "").split(","):
        key = protocol.strip().removeprefix(KEY_PROTOCOL)
        if key != protocol.strip() and key:
            return key.encode("utf-8", "surrogateescape")
    return None


def bearer_token(authorization: str | None) -> bytes | None:
    """The token of an `Authorization: Bearer …` header."""
    scheme, _, token = (authorization or "").strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        return None
    # aiohttp passes bytes that are not UTF-8 as surrogates.
    return token.encode("utf-8", "surrogateescape")


def read_keys(folder: Path) -> KeysFound:
    """Every key of the folder; none if it is missing or cannot be read."""
    for _attempt in range(3):
        try:
            return _read_once(folder)
        except FileNotFoundError:
            # The Secret was swapped while we read: the listing named a file that is gone. The next listing does not.
            continue
        except OSError as problem:
            return KeysFound({}, (f"cannot be read: {problem.strerror}",), is_certain=problem.errno in GONE)
    return KeysFound({}, ("does not exist",))


def _read_once(folder: Path) -> KeysFound:
    digests: dict[str, bytes] = {}
    problems: list[str] = []
    for path in sorted(folder.iterdir()):
        # `..data` and its timestamped target are how the kubelet swaps a Secret atomically.
        if path.name.startswith(".") or not path.is_file():
            continue
        try:
            with path.open("rb") as file:
                key = file.read(MAX_KEY_BYTES + 1).strip()
        except PermissionError:
            problems.append(f"{path.name!r} ignored: not readable by this user")
            continue
        digest = _digest(key)
        same = next((name for name, known in digests.items() if known == digest), None)
        problem = _problem_of(key) or (same and f"has the same key as {same!r}; give every client its own")
        if problem:
            problems.append(f"{path.name!r} ignored: {problem}")
        else:
            digests[path.name] = digest
    return KeysFound(digests, tuple(problems))


def _problem_of(key: bytes) -> str | None:
    if not key or len(key) > MAX_KEY_BYTES:
        return f"empty, or longer than {MAX_KEY_BYTES} bytes"
    if key.startswith(UTF8_BOM):
        return "begins with a byte order mark; save the file as UTF-8 without BOM"
    if len(key) < MIN_KEY_BYTES or len(set(key)) < MIN_DISTINCT_BYTES:
        return (
            f"weak: a key needs {MIN_KEY_BYTES} bytes or more and {MIN_DISTINCT_BYTES} different ones; "
            "make one with `openssl rand -hex 24`"
        )
    return None


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()

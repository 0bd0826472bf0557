"""API keys from a folder, as a mounted Kubernetes Secret has them: a file a client, named after it.

The folder is read again every few seconds, whole: a Secret's update swaps a symlink below the file
names, which no time add_common_headers of theirs shows. Keys are kept as digests only.
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

MAX_KEY_BYTES = 4096


GONE = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM}
"""What is wrong with the folder itself. Anything else is wrong with the machine, for now: too many open files, a disk's hiccup."""


@dataclass(frozen=True)
class KeysFound:
    """What the folder held when it was last read."""

    digests: Mapping[str, bytes]
    """By client's name."""
    problems: tuple[str, ...] = ()
    is_certain: bool = True
    """Whether the folder was read, or is known to hold nothing that can be."""


class KeyRing:
    """The keys that open this server; a ring without a folder leaves it open to everyone."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._found: KeysFound | None = None
        if folder is not None:
            self._keep(read_keys(folder))

    @property
    def is_open(self) -> bool:
        """Whether nobody needs a key."""
        return self._folder is None

    def client_of(self, authorization: str | None) -> str:
        """Name of the client that this header belongs to. Raises InvalidApiKey."""
        if self._folder is None:
            return ""
        key = bearer_token(authorization)
        if key is None:
            raise InvalidApiKey(
                "You didn't provide an API key. Send it in an Authorization header: `Authorization: Bearer YOUR_KEY`."
            )
        digest = _digest(key)
        found = ""
        for name, known in self._found.digests.items() if self._found else ():
            # No early exit: the time taken must not tell which key came close.
            if hmac.compare_digest(digest, known):
                found = name
        if not found:
            raise InvalidApiKey("Incorrect API key provided. Ask whoever runs this server for a valid one.")
        return found

    async def keep_fresh(self, every_s: float) -> None:
        """Read the folder again and again, off the event loop, until cancelled."""
        while self._folder is not None:
            await asyncio.sleep(every_s)
            self._keep(await asyncio.to_thread(read_keys, self._folder))

    def _keep(self, found: KeysFound) -> None:
        if not found.is_certain and self._found is not None:
            log.warning("API_KEYS_DIR=%s: %s; the keys from before stay", self._folder, "; ".join(found.problems))
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


def bearer_token(authorization: str | None) -> bytes | None:
    """The token of an `Authorization: Bearer …` header."""
    scheme, _, token = (authorization or "").strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        return None
    # aiohttp hands over bytes that are no UTF-8 as surrogates.
    return token.encode("utf-8", "surrogateescape")


def read_keys(folder: Path) -> KeysFound:
    """Every key of the folder; none where it is missing or cannot be read."""
    for _attempt in range(3):
        try:
            return _read_once(folder)
        except FileNotFoundError:
            # Swapped while we read: the listing named a file that is gone. The next one does not.
            continue
        except OSError as problem:
            return KeysFound({}, (f"cannot be read: {problem.strerror}",), is_certain=problem.errno in GONE)
    return KeysFound({}, ("does not exist",))


def _read_once(folder: Path) -> KeysFound:
    digests: dict[str, bytes] = {}
    problems: list[str] = []
    for path in sorted(folder.iterdir()):
        # `..data` and its timestamped target are how the kubelet swaps a Secret at one stroke.
        if path.name.startswith(".") or not path.is_file():
            continue
        try:
            with path.open("rb") as file:
                key = file.read(MAX_KEY_BYTES + 1).strip()
        except PermissionError:
            problems.append(f"{path.name!r} ignored: not readable by this user")
            continue
        if key and len(key) <= MAX_KEY_BYTES:
            digests[path.name] = _digest(key)
        else:
            problems.append(f"{path.name!r} ignored: empty, or longer than {MAX_KEY_BYTES} bytes")
    return KeysFound(digests, tuple(problems))


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()

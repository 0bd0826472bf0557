"""Messages between server and decoder worker: one JSON object per datagram (SOCK_SEQPACKET keeps their bounds).

    server → worker   DecodeJob (with two descriptors: upload, samples) · Grant
    worker → server   Ready · Probed · Grow · Done · Refused · Crashed

The server trusts no message of a worker: the file that a worker decodes may have taken it over.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, Protocol

MAX_MESSAGE_BYTES = 32_768
_MAX_TEXT = 4_000


class BadMessage(Exception):
    """The datagram is none of the messages below."""


MIXED = -1
"""Instead of a channel's number: all channels, as one."""


@dataclass(frozen=True)
class DecodeJob:
    """Decode one channel of the first descriptor, or all of them mixed, into the second."""

    channel: int = MIXED


@dataclass(frozen=True)
class Grant:
    """Answer to Probed and to Grow; what is not granted ends the job."""

    granted: bool


@dataclass(frozen=True)
class Ready:
    """The worker has started, and its sandbox is closed."""

    rss_bytes: int
    seccomp: bool
    landlock_abi: int


@dataclass(frozen=True)
class Probed:
    """The file's header: sampling rate, channels and, unless it is 0, the length. Asks to go on, and for `n_bytes` for the
    samples at once, so that a clip needs no Grow.
    """

    rate_hz: int
    n_channels: int
    duration_ms: int
    n_bytes: int = 0


@dataclass(frozen=True)
class Grow:
    """Asks for `n_bytes` more for the samples."""

    n_bytes: int


@dataclass(frozen=True)
class Done:
    """The samples are written; `n_channels` has the recording."""

    n_samples: int
    rss_bytes: int
    n_channels: int = 1


@dataclass(frozen=True)
class Refused:
    """The file is refused; `code` is that of the ApiError (or `overloaded`)."""

    code: str
    message: str
    rss_bytes: int


@dataclass(frozen=True)
class Crashed:
    """A bug of the worker, for the log."""

    traceback: str


Message = DecodeJob | Grant | Ready | Probed | Grow | Done | Refused | Crashed
_TYPES: dict[str, type[Message]] = {
    kind.__name__: kind for kind in (DecodeJob, Grant, Ready, Probed, Grow, Done, Refused, Crashed)
}
_TYPE_NAMES: dict[str, type] = {"bool": bool, "int": int, "str": str}
_FIELD_TYPES: dict[type[Message], dict[str, type]] = {
    kind: {field.name: _TYPE_NAMES[str(field.type)] for field in fields(kind)} for kind in _TYPES.values()
}


class Permits(Protocol):
    """What a job asks while it runs."""

    @property
    def is_long(self) -> bool: ...

    def probed(self, header: Probed) -> bool:
        """The header is read. False: the job ends."""

    def grow(self, n_bytes: int) -> bool:
        """The samples take `n_bytes` more. False: the job ends."""


def pack(message: Message) -> bytes:
    """One datagram. Long texts lose their beginning, because the end of a traceback says most."""
    values = {key: value[-_MAX_TEXT:] if isinstance(value, str) else value for key, value in vars(message).items()}
    return json.dumps({"kind": type(message).__name__, **values}).encode()


def unpack(datagram: bytes) -> Message:
    """Raises BadMessage."""
    try:
        values: dict[str, Any] = json.loads(datagram)
        kind = _TYPES[values.pop("kind")]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadMessage(repr(datagram[:100])) from error
    if {name: type(value) for name, value in values.items()} != _FIELD_TYPES[kind]:
        raise BadMessage(f"{kind.__name__}: {values!r:.100}")
    return kind(**values)

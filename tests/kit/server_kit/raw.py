"""HTTP by hand over a socket: what no well-behaved client would send."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

BOUNDARY = "b0undary"
LIMIT_S = 120.0


@dataclass(frozen=True)
class RawAnswer:
    """One answer as it came from the socket."""

    status: int
    version: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def error(self) -> Any:
        """OpenAI's error object."""
        return json.loads(self.body)["error"]


def part(name: str, value: bytes, *, file_name: str | None = None) -> bytes:
    """One part of a form, written as it is given: nothing is escaped."""
    disposition = f'Content-Disposition: form-data; name="{name}"'
    if file_name is not None:
        disposition += f'; filename="{file_name}"'
    return f"--{BOUNDARY}\r\n{disposition}\r\n\r\n".encode() + value + b"\r\n"


def body_of(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def clip_form(audio: bytes, *more: bytes) -> bytes:
    """A whole form: model, further parts, file."""
    return body_of(part("model", b"whisper-1"), *more, part("file", audio, file_name="clip.wav"))


def head(
    n_bytes: int | None,
    *,
    method: str = "POST",
    path: str = "/v1/audio/transcriptions",
    version: str = "HTTP/1.1",
    more: Iterable[str] = (),
) -> bytes:
    """Request line and headers of a form of `n_bytes`."""
    lines = [f"{method} {path} {version}", "Host: localhost"]
    if n_bytes is not None:
        lines += [f"Content-Type: multipart/form-data; boundary={BOUNDARY}", f"Content-Length: {n_bytes}"]
    return "\r\n".join([*lines, *more, "", ""]).encode()


class Wire:
    """A connection to a server."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection((address, port), timeout=LIMIT_S)
        self._reader = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._reader.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def end_sending(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def wait_for_close(self) -> bytes:
        """What still comes until the server hangs up."""
        return self._reader.read()

    def answer(self) -> RawAnswer:
        """The next answer, `100 Continue` left out. Raises EOFError where the server hangs up without one."""
        while True:
            status_line = self._reader.readline().decode("latin-1")
            if not status_line:
                raise EOFError("the server hung up without an answer")
            version, status, *_ = status_line.split(" ", 2)
            headers = self._headers()
            if int(status) != 100:
                return RawAnswer(int(status), version, headers, self._body(headers))

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        while line := self._reader.readline().decode("latin-1").strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return headers

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            return b"".join(self._chunks())
        if "content-length" in headers:
            return self._reader.read(int(headers["content-length"]))
        return self._reader.read()

    def _chunks(self) -> Iterable[bytes]:
        while n_bytes := int(self._reader.readline(), 16):
            yield self._reader.read(n_bytes)
            self._reader.readline()
        self._reader.readline()


def exchange(port: int, data: bytes) -> RawAnswer:
    """Send bytes, read one answer."""
    with Wire(port) as wire:
        wire.send(data)
        return wire.answer()

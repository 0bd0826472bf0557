"""Reading a multipart/form-data body part by part, as a stream, with every limit held while it arrives.

Bytes are counted here because aiohttp's `client_max_size` does not apply to its multipart reader. Whatever
aiohttp raises on a malformed body leaves here as BadRequest. What the parts mean is not known here.
"""

from __future__ import annotations

import codecs
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import cast

from aiohttp import (
    BadContentDispositionHeader,
    BadContentDispositionParam,
    BodyPartReader,
    ClientError,
    MultipartReader,
    StreamReader,
    hdrs,
    web,
)
from aiohttp.helpers import parse_mimetype
from aiohttp.http_exceptions import HttpProcessingError

from whisper_server.api.values import quoted
from whisper_server.errors import ApiError, BadRequest, UploadTooLarge

_CHUNK_BYTES = 65_536
_MAX_HEADER_BYTES = 8_190
_MAX_HEADERS_PER_PART = 32
_MAX_BOUNDARY_CHARS = 70
# Others (idna, punycode, unicode_escape …) take time beyond measure or mean something else.
_CHARSETS = frozenset({"utf-8", "ascii", "iso8859-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be"})
_TRANSFER_ENCODINGS = frozenset({"binary", "8bit", "7bit", "base64"})
_AIOHTTP_ERRORS = (
    ValueError,
    RuntimeError,
    AssertionError,
    LookupError,
    EOFError,
    HttpProcessingError,
    BadContentDispositionHeader,  # a warning, but an exception under python -W error
    BadContentDispositionParam,
)
# Python remembers every distinct text that it has warned about: a client could fill the memory with them.
warnings.filterwarnings("ignore", category=BadContentDispositionHeader)
warnings.filterwarnings("ignore", category=BadContentDispositionParam)
# aiohttp's own parser gives up on a file name with two semicolons, and with it on the part's name.
_PARAMETER = re.compile(
    r';\s*(?P<key>[\w!#$%&\'+.^`|~-]+\*?)\s*=\s*(?:"(?P<quoted>(?:\\.|[^"\\])*)"|(?P<token>[^;"]*))'
)


@dataclass(frozen=True)
class FormLimits:
    """How much of a body is read, and for how long."""

    max_upload_bytes: int
    """Of the whole body, as it is after decompression."""
    upload_timeout_s: float
    max_parts: int = 256
    max_field_bytes: int = 65_536
    max_text_bytes: int = 262_144
    """Of all text fields together."""


def too_large(limits: FormLimits) -> UploadTooLarge:
    """The refusal of a body over the limit."""
    return UploadTooLarge(
        f"The request body is larger than the {limits.max_upload_bytes} bytes that this server takes "
        "(MAX_UPLOAD_BYTES); send a shorter recording or a compressed one (opus, mp3, flac).",
        param="file",
    )


def refuse_by_headers(headers: Mapping[str, str], limits: FormLimits) -> None:
    """What can be refused before a byte of the body is read (and before `100 Continue` is sent)."""
    mimetype = parse_mimetype(headers.get(hdrs.CONTENT_TYPE, ""))
    if (mimetype.type, mimetype.subtype) != ("multipart", "form-data"):
        raise BadRequest(
            "The body must be multipart/form-data with the fields file and model, "
            f"not {quoted(headers.get(hdrs.CONTENT_TYPE, '')) if mimetype.type else 'a body without a content type'}.",
            param="file",
        )
    boundary = mimetype.parameters.get("boundary", "")
    if not 1 <= len(boundary) <= _MAX_BOUNDARY_CHARS or not boundary.isascii():
        raise BadRequest(
            f"The content type multipart/form-data needs a boundary of 1 to {_MAX_BOUNDARY_CHARS} ASCII characters; "
            "let the HTTP client set the content type itself.",
            param="file",
        )
    length = headers.get(hdrs.CONTENT_LENGTH, "")
    if length.isdecimal() and int(length) > limits.max_upload_bytes:
        raise too_large(limits)


@contextmanager
def _as_bad_request() -> Iterator[None]:
    try:
        yield
    except ApiError:
        raise
    except (ClientError, ConnectionError, web.RequestPayloadError) as error:
        raise BadRequest(f"The request body ended early: {error}.", param="file") from error
    except _AIOHTTP_ERRORS as error:
        detail = getattr(error, "message", "") or str(error)
        raise BadRequest(f"The multipart body is malformed or cut off: {quoted(detail)}.", param="file") from error


class _CountedStream:
    """The part of StreamReader that aiohttp's multipart reader uses, ending at the limit."""

    def __init__(self, stream: StreamReader, limits: FormLimits) -> None:
        self._stream = stream
        self._limits = limits

    def _check(self) -> None:
        if self._stream.total_bytes > self._limits.max_upload_bytes:
            raise too_large(self._limits)

    async def read(self, n: int = -1) -> bytes:
        data = await self._stream.read(n)
        self._check()
        return data

    async def readline(self, *, max_line_length: int | None = None) -> bytes:
        data = await self._stream.readline(max_line_length=max_line_length)
        self._check()
        return data

    def at_eof(self) -> bool:
        return self._stream.at_eof()

    def unread_data(self, data: bytes) -> None:
        self._stream.unread_data(data)

    async def exhaust(self) -> None:
        """Read what follows the last boundary, which nobody needs, to the end of the body."""
        while not self._stream.at_eof():
            await self._stream.readany()
            self._check()


class FormPart:
    """One part of the form. Its content is read once, by `read` or by `text`."""

    def __init__(self, reader: BodyPartReader, name: str, limits: FormLimits) -> None:
        self.name = name
        self._reader = reader
        self._limits = limits

    async def read(self) -> bytes:
        """The next piece of the content, decoded from its transfer encoding; empty at the end."""
        encoding = self._reader.headers.get(hdrs.CONTENT_TRANSFER_ENCODING, "binary").lower()
        if encoding not in _TRANSFER_ENCODINGS:
            raise BadRequest(
                f"{quoted(self.name)}: the content-transfer-encoding {quoted(encoding)} is not known here; "
                "send the part as it is (binary).",
                param=self.name,
            )
        with _as_bad_request():
            while not self._reader.at_eof():
                chunk = self._reader.decode(await self._reader.read_chunk(_CHUNK_BYTES))
                if chunk:
                    return bytes(chunk)
        return b""

    async def text(self) -> str:
        """The content as text; too much of it is refused without being kept."""
        content = bytearray()
        while chunk := await self.read():
            content += chunk
            if len(content) > self._limits.max_field_bytes:
                raise BadRequest(
                    f"{quoted(self.name)} is longer than {self._limits.max_field_bytes} bytes.", param=self.name
                )
        try:
            return content.decode(_charset(self._reader))
        except ValueError:
            raise BadRequest(f"{quoted(self.name)} is not text in UTF-8.", param=self.name) from None


def _charset(reader: BodyPartReader) -> str:
    asked = reader.get_charset("utf-8")
    try:
        name = codecs.lookup(asked).name
    except (LookupError, ValueError):
        name = ""
    if name not in _CHARSETS:
        raise ValueError(asked)
    return name


class FormPartReader:
    """The parts of a body in their order. Each must be read before the next is asked for."""

    def __init__(self, request: web.BaseRequest, limits: FormLimits) -> None:
        self._limits = limits
        self._stream = _CountedStream(request.content, limits)
        self._n_parts = 0
        with _as_bad_request():
            self._reader = MultipartReader(
                request.headers,
                cast("StreamReader", self._stream),
                max_field_size=_MAX_HEADER_BYTES,
                max_headers=_MAX_HEADERS_PER_PART,
            )

    async def next(self) -> FormPart | None:
        """The next part; None when the body has been read to its end."""
        with _as_bad_request():
            reader = await self._reader.next()
            if reader is None:
                await self._stream.exhaust()
                return None
        self._n_parts += 1
        if self._n_parts > self._limits.max_parts:
            raise BadRequest(f"The form has more than {self._limits.max_parts} fields.")
        name = _name(reader.headers.get(hdrs.CONTENT_DISPOSITION, ""))
        if not name:
            raise BadRequest('A part has no name; every part needs Content-Disposition: form-data; name="…".')
        if not isinstance(reader, BodyPartReader):
            raise BadRequest(f"{quoted(name)}: a multipart part inside the form is not known here.", param=name[:64])
        return FormPart(reader, name, self._limits)


def _name(header: str) -> str | None:
    """The name of a part, from its Content-Disposition."""
    # Bytes that are no UTF-8 come as surrogates, which strict parsers refuse in the JSON of an answer.
    for match in _PARAMETER.finditer(header.encode("utf-8", "replace").decode()):
        if match["key"].lower() == "name":
            escaped = match["quoted"]
            return match["token"].strip() if escaped is None else re.sub(r"\\([\"\\])", r"\1", escaped)
    return None


async def discard(request: web.BaseRequest, limits: FormLimits) -> None:
    """Read what is left of a refused body: most clients look for an answer only once they have sent it all."""
    with suppress(ApiError), _as_bad_request():
        await _CountedStream(request.content, limits).exhaust()

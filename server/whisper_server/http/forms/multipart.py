"""Reading a multipart/form-data body part by part, as a stream, with every limit applied while it arrives.

The parser is `multipart`'s, which does no I/O and finds boundaries with `bytes.find`. aiohttp's own reader is not used:
it reads everything before the first boundary line by line without yielding to the event loop, so that 24 MiB of
newlines took 67 s of CPU and blocked `/health`. Here the body is fed in pieces, each after a turn of the throttle, and
every byte costs a bounded amount of work: the first boundary must come at once, a part has a bounded number of short
headers, and a form has a bounded number of parts.
"""

from __future__ import annotations

import binascii
import codecs
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import multipart
from aiohttp import ClientError, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from whisper_server.api.values import quoted
from whisper_server.errors import ApiError, BadRequest
from whisper_server.http.forms.limits import FormLimits, boundary_of, too_large
from whisper_server.http.loop_throttle import LoopThrottle

_CHUNKED_PIECE_BYTES = 32_768
"""Of a body in chunks. aiohttp joins a piece from its chunks: 131,072 of one byte took the event loop 0.1 s of CPU."""
_MAX_HEADER_BYTES = 8_190
_MAX_HEADERS_PER_PART = 32
# Others (idna, punycode, unicode_escape …) take very long or mean something else.
_CHARSETS = frozenset({"utf-8", "ascii", "iso8859-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be"})
_TRANSFER_ENCODINGS = frozenset({"binary", "8bit", "7bit", "base64"})
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NEEDS_A_NAME = 'every part needs Content-Disposition: form-data; name="…"'


@contextmanager
def _as_bad_request() -> Iterator[None]:
    try:
        yield
    except (ClientError, ConnectionError, web.RequestPayloadError) as error:
        raise BadRequest(f"The request body ended early: {error}.", param="file") from error
    except (multipart.MultipartError, HttpProcessingError, binascii.Error) as error:
        detail = str(error)
        remedy = f"; {_NEEDS_A_NAME}" if hdrs.CONTENT_DISPOSITION in detail else ""
        raise BadRequest(
            f"The multipart body is malformed or cut off: {quoted(detail)}{remedy}.", param="file"
        ) from error


class _Body:
    """The body of a request in small pieces, with a turn of the throttle before each."""

    def __init__(self, request: web.BaseRequest, limits: FormLimits, throttle: LoopThrottle) -> None:
        self._stream = request.content
        self._content_length = request.content_length or sys.maxsize
        self._is_chunked = request.content_length is None
        self._limits = limits
        self._throttle = throttle

    async def next(self) -> bytes:
        """The next piece; empty at the end. Raises UploadTooLarge."""
        await self._throttle.acquire(self._content_length - self._stream.total_bytes)
        # What one read from the socket gave, as it is: pieces of a size would be cut and joined, two copies more of each byte.
        piece = await (self._stream.read(_CHUNKED_PIECE_BYTES) if self._is_chunked else self._stream.readany())
        if self._stream.total_bytes > self._limits.max_upload_bytes:
            raise too_large(self._limits)
        return piece

    async def discard(self) -> None:
        """Read what is left."""
        while await self.next():
            pass


class FormPart:
    """One part of the form. Its content is read once, by `read` or by `text`."""

    def __init__(self, segment: multipart.MultipartSegment, reader: FormPartReader, limits: FormLimits) -> None:
        self._reader = reader
        self._limits = limits
        broken = next((header for header, value in segment.headerlist if _CONTROL.search(value)), None)
        if broken is not None:
            raise BadRequest(
                f"The multipart body is malformed: control characters in the header {quoted(broken)} of a part.",
                param="file",
            )
        self.name = _as_utf8(segment.name or "")
        if not self.name:
            raise BadRequest(f"A part has no name; {_NEEDS_A_NAME}.")
        if (segment.content_type or "").startswith("multipart/"):
            raise BadRequest(
                f"{quoted(self.name)}: a multipart part inside the form is not supported.", param=self.name[:64]
            )
        self._charset = segment.charset or "utf-8"
        encoding = segment.header(hdrs.CONTENT_TRANSFER_ENCODING, "binary").strip().lower()
        if encoding not in _TRANSFER_ENCODINGS:
            raise BadRequest(
                f"{quoted(self.name)}: the content-transfer-encoding {quoted(encoding)} is not supported; "
                "send the part as it is (binary).",
                param=self.name[:64],
            )
        self._base64 = _Base64() if encoding == "base64" else None

    async def read(self) -> bytes:
        """The next piece of the content, decoded from its transfer encoding; empty at the end."""
        while piece := await self._reader.content():
            if self._base64 is None:
                return piece
            with _as_bad_request():
                if decoded := self._base64.decode(piece):
                    return decoded
        if self._base64 is not None:
            with _as_bad_request():
                self._base64.end()
        return b""

    async def text(self) -> str:
        """The content as text; a field over the limit is refused without being kept."""
        content = bytearray()
        while piece := await self.read():
            content += piece
            if len(content) > self._limits.max_field_bytes:
                raise BadRequest(
                    f"{quoted(self.name)} is longer than {self._limits.max_field_bytes} bytes.", param=self.name
                )
        try:
            return content.decode(_known_charset(self._charset))
        except ValueError:
            raise BadRequest(f"{quoted(self.name)} is not text in UTF-8.", param=self.name) from None


def _as_utf8(name: str) -> str:
    """The parser decodes headers as Latin-1, because file names may be in any charset. Bytes that are not UTF-8: "?"."""
    text = name.encode("latin-1", "replace").decode("utf-8", "surrogateescape")
    return text.encode("utf-8", "replace").decode()


class _Base64:
    """Decodes base64 in pieces, whatever their lengths."""

    def __init__(self) -> None:
        self._rest = b""

    def decode(self, piece: bytes) -> bytes:
        """Raises binascii.Error."""
        text = self._rest + piece.translate(None, b"\r\n\t ")
        n_whole = len(text) - len(text) % 4
        self._rest = text[n_whole:]
        return binascii.a2b_base64(text[:n_whole])

    def end(self) -> None:
        """Raises binascii.Error if the content is cut off."""
        binascii.a2b_base64(self._rest)


def _known_charset(asked: str) -> str:
    try:
        name = codecs.lookup(asked).name
    except (LookupError, ValueError):
        name = ""
    if name not in _CHARSETS:
        raise ValueError(asked)
    return name


class FormPartReader:
    """The parts of a body in order. Each part must be read before the next one."""

    def __init__(self, request: web.BaseRequest, limits: FormLimits, throttle: LoopThrottle) -> None:
        self._limits = limits
        self._body = _Body(request, limits, throttle)
        self._events: Iterator[multipart.MultipartSegment | bytes | None] = iter(())
        """What the parser found in the last piece: a part's head, pieces of its content, None at its end."""
        boundary = boundary_of(request.headers)
        first = f"--{boundary}".encode()
        self._first_boundaries = (first, b"\r\n" + first)
        self._start: bytes | None = b""
        """What has come of the first boundary; None once it is there."""
        self._parser = multipart.PushMultipartParser(
            boundary,
            max_header_size=_MAX_HEADER_BYTES,
            max_header_count=_MAX_HEADERS_PER_PART,
            header_charset="latin-1",
            # The first boundary must be in the first piece, and headers have no continuation lines.
            strict=True,
        )
        self._n_parts = 0

    async def next(self) -> FormPart | None:
        """The next part; None when the body has been read to its end. Raises ApiError."""
        segment = await self._next_event()
        if segment is None:
            return None
        assert isinstance(segment, multipart.MultipartSegment), "the part before was not read to its end"
        self._n_parts += 1
        if self._n_parts > self._limits.max_parts:
            raise BadRequest(f"The form has more than {self._limits.max_parts} fields.")
        return FormPart(segment, self, self._limits)

    async def content(self) -> bytes:
        """The next piece of the content of the last part; empty at its end. Raises ApiError."""
        piece = await self._next_event()
        return piece if isinstance(piece, bytes) else b""

    async def _next_event(self) -> multipart.MultipartSegment | bytes | None:
        """Also None at the end of the body."""
        with _as_bad_request():
            while True:
                for event in self._events:
                    return event
                # multipart says nothing in public once it has seen the last boundary: docs/upgrading-dependencies.md.
                if self._parser._state is multipart._COMPLETE:  # noqa: SLF001
                    await self._body.discard()
                    return None
                piece = await self._body.next()
                self._refuse_preamble(piece)
                self._events = iter(self._parser.parse(piece))

    def _refuse_preamble(self, piece: bytes) -> None:
        """The parser accepts bytes before the first boundary if the same piece holds it: by chance, as the network cuts pieces."""
        if self._start is None:
            return
        self._start += piece[: len(self._first_boundaries[1])]
        if self._start.startswith(self._first_boundaries):
            self._start = None
        elif not any(boundary.startswith(self._start) for boundary in self._first_boundaries):
            raise multipart.ParserError("Unexpected byte in front of first boundary")


async def discard(request: web.BaseRequest, limits: FormLimits, throttle: LoopThrottle) -> None:
    """Read the rest of a refused body: most clients look for an answer only after they have sent everything."""
    with suppress(ApiError), _as_bad_request():
        await _Body(request, limits, throttle).discard()

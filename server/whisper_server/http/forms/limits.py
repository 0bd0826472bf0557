"""The limits of a form, and what its headers alone show to be refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import hdrs
from aiohttp.helpers import parse_mimetype

from whisper_server.api.values import quoted
from whisper_server.errors import BadRequest, UnsupportedEncoding, UploadTooLarge

_MAX_BOUNDARY_CHARS = 70


@dataclass(frozen=True)
class FormLimits:
    """The limits of a body in bytes, parts and time."""

    max_upload_bytes: int
    """Of the whole body."""
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
    """Refuse what can be refused before the body is read (and before `100 Continue` is sent). Raises ApiError."""
    encoding = headers.get(hdrs.CONTENT_ENCODING, "").strip()
    if encoding.lower() not in ("", "identity"):
        # 25 KB of gzip can be 24 MiB of work, and recordings do not get smaller by it.
        raise UnsupportedEncoding(
            f"Content-Encoding {quoted(encoding)} is not supported; send the body as it is, "
            "and a compressed recording (opus, mp3, flac) if it should be smaller."
        )
    boundary_of(headers)
    length = headers.get(hdrs.CONTENT_LENGTH, "")
    if length.isdecimal() and int(length) > limits.max_upload_bytes:
        raise too_large(limits)


def boundary_of(headers: Mapping[str, str]) -> str:
    """The boundary of a form. Raises BadRequest."""
    mimetype = parse_mimetype(headers.get(hdrs.CONTENT_TYPE, ""))
    if (mimetype.type, mimetype.subtype) != ("multipart", "form-data"):
        raise BadRequest(
            "The body must be multipart/form-data with the fields file and model, "
            f"not {quoted(headers.get(hdrs.CONTENT_TYPE, '')) if mimetype.type else 'a body without a content type'}.",
            param="file",
        )
    boundary = mimetype.parameters.get("boundary", "")
    if not 1 <= len(boundary) <= _MAX_BOUNDARY_CHARS or not boundary.isascii() or not boundary.isprintable():
        raise BadRequest(
            f"The content type multipart/form-data needs a boundary of 1 to {_MAX_BOUNDARY_CHARS} ASCII characters; "
            "let the HTTP client set the content type itself.",
            param="file",
        )
    return boundary

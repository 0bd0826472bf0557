"""Forms that are cheap to send and dear to read, as attackers would send them: a table of bodies, and their bytes on the wire."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from http_kit.running import BOUNDARY, FORM_TYPE, post_head

MIB = 1 << 20
LINE = f"--{BOUNDARY}\r\n".encode()
HEAD = b'Content-Disposition: form-data; name="%s"\r\n'
END = f"\r\n--{BOUNDARY}--\r\n".encode()


def part(name: bytes, value: bytes = b"", more: bytes = b"") -> bytes:
    return LINE + HEAD % name + more + b"\r\n" + value + b"\r\n"


MODEL = part(b"model", b"whisper-1")
WHOLE = MODEL + LINE + HEAD % b"file" + b"\r\nRIFFxxxxWAVE" + END


@dataclass(frozen=True)
class Body:
    """A body as it is sent, with more headers."""

    name: str
    content: Callable[[], bytes]
    headers: dict[str, str] = field(default_factory=dict)
    chunk_bytes: int = 0
    """Chunked transfer encoding with chunks of this size; 0: Content-Length."""


BODIES = [
    Body("newlines_before_the_first_boundary", lambda: b"\r\n" * (4 * MIB) + WHOLE),
    Body("bare_newlines_before_the_first_boundary", lambda: b"\n" * (8 * MIB) + WHOLE),
    Body("nearly_boundaries_before_the_first", lambda: b"--b0undar\r\n" * (MIB // 2) + WHOLE),
    Body("long_preamble_in_gzip", lambda: gzip.compress(b"\r\n" * (12 * MIB) + WHOLE), {"Content_Encoding": "gzip"}),
    Body("zeros_in_deflate", lambda: zlib.compress(WHOLE + bytes(24 * MIB)), {"Content_Encoding": "deflate"}),
    Body("unknown_content_encoding", lambda: WHOLE, {"Content_Encoding": "br, gzip, gzip"}),
    Body("newlines_after_the_last_boundary", lambda: WHOLE + b"\n" * (8 * MIB)),
    Body("boundaries_after_the_last", lambda: WHOLE + LINE * (MIB // 2)),
    Body("empty_parts", lambda: (LINE + b"\r\n") * (MIB // 4)),
    Body("parts_without_content", lambda: MODEL + part(b"keywords[]") * 50_000 + END),
    Body("parts_with_unknown_names", lambda: b"".join(part(b"x%d" % n) for n in range(50_000)) + END),
    Body("boundaries_only", lambda: LINE * (MIB // 2)),
    Body("header_lines_without_end", lambda: LINE + b"A: b\r\n" * MIB),
    Body("headers_in_every_part", lambda: (LINE + HEAD % b"prompt" + b"A: b\r\n" * 29 + b"\r\n\r\n") * 10_000),
    Body("one_endless_header", lambda: LINE + b"A: " + b"b" * (8 * MIB)),
    Body("continuation_lines", lambda: LINE + HEAD % b"model" + b" x\r\n" * MIB),
    Body("long_disposition", lambda: LINE + HEAD % (b'a"; ' * 2_000) + END),
    Body("quotes_in_disposition", lambda: (LINE + HEAD % (b"; a=\\" * 1_500) + b"\r\n\r\n") * 500),
    Body("one_file_of_line_breaks", lambda: MODEL + part(b"file", b"\r\n" * (4 * MIB))[:-2] + END),
    Body("file_of_nearly_boundaries", lambda: MODEL + part(b"file", b"\r\n--b0undar" * (MIB // 2))[:-2] + END),
    Body(
        "file_in_base64", lambda: MODEL + part(b"file", b"AAAA" * MIB, b"Content-Transfer-Encoding: base64\r\n") + END
    ),
    Body(
        "file_in_broken_base64",
        lambda: MODEL + part(b"file", b"\r\n \t" * MIB, b"Content-Transfer-Encoding: base64\r\n") + END,
    ),
    Body("many_long_fields", lambda: part(b"keywords[]", b"k" * 60_000) * 200 + END),
    Body("one_long_field", lambda: part(b"prompt", b"x" * (8 * MIB)) + END),
    Body("nested_json", lambda: MODEL + part(b"chunking_strategy", b"[" * 65_000) + part(b"file", b"x")[:-2] + END),
    Body("long_field_name", lambda: part(b"language[" + b"9" * 8_000 + b"]", b"de") * 256 + END),
    Body("keywords_of_one_letter", lambda: MODEL + part(b"keywords[]", b"k") * 250 + part(b"file", b"x")[:-2] + END),
    Body(
        "slow_charset", lambda: MODEL + part(b"prompt", b"x" * 60_000, b"Content-Type: a; charset=punycode\r\n") + END
    ),
    Body("chunks_of_one_byte", lambda: MODEL + part(b"file", b"x" * (MIB // 4))[:-2] + END, chunk_bytes=1),
    Body("newlines_in_chunks_of_one_byte", lambda: b"\n" * (MIB // 4) + WHOLE, chunk_bytes=1),
]


def on_the_wire(body: Body) -> bytes:
    content = body.content()
    if not body.chunk_bytes:
        return post_head(Content_Type=FORM_TYPE, Content_Length=len(content), **body.headers) + content
    size = body.chunk_bytes
    chunks = (b"%x\r\n%s\r\n" % (size, content[start : start + size]) for start in range(0, len(content), size))
    return post_head(Content_Type=FORM_TYPE, Transfer_Encoding="chunked") + b"".join(chunks) + b"0\r\n\r\n"

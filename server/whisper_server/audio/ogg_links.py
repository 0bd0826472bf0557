"""Chained ogg: complete streams one after the other, as in radio recordings and concatenated voice notes.

FFmpeg reads past a joint only if rate and channels stay the same, and otherwise stops without an error,
so each link is read as a separate file.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from whisper_server.audio.upload_reader import UploadReader

_FIRST_PAGE = b"OggS\0\x02"
"""Capture pattern, version 0, and the flag "beginning of stream" alone."""
_BLOCK_BYTES = 1 << 20
_MAX_LINKS = 1_000


def ogg_links(file: UploadReader) -> list[UploadReader]:
    """The links of an ogg file; of any other file, the file itself."""
    if file.read_at(0, 4) != b"OggS":
        return [file]
    starts = list(itertools.islice(_starts(file), _MAX_LINKS))[1:]
    bounds = [0, *starts, file.n_bytes]
    return [file.part(start, end) for start, end in itertools.pairwise(bounds)]


def _starts(file: UploadReader) -> Iterator[int]:
    """Positions where a link begins. The streams of one link (audio and video) begin in consecutive pages: they count once."""
    after_first_page = -1
    for position in _occurrences(file):
        if position != after_first_page:
            yield position
        after_first_page = position + _page_bytes(file, position)


def _occurrences(file: UploadReader) -> Iterator[int]:
    for block_start in range(0, file.n_bytes, _BLOCK_BYTES):
        # A pattern across the border belongs to the earlier block.
        block = file.read_at(block_start, _BLOCK_BYTES + len(_FIRST_PAGE) - 1)
        at = block.find(_FIRST_PAGE)
        while at >= 0:
            yield block_start + at
            at = block.find(_FIRST_PAGE, at + 1)


def _page_bytes(file: UploadReader, position: int) -> int:
    header = file.read_at(position, 27 + 255)
    n_segments = header[26] if len(header) > 26 else 0
    return 27 + n_segments + sum(header[27 : 27 + n_segments])

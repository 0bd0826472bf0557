"""A corpus of small files, and mutations of them that hypothesis chooses, and shrinks where one fails.

`make test` runs few, the same ones in every run; FUZZ_TIMES in the environment runs that many times as many, other ones
in each run (`make fuzz`). A file that was worth a repair joins tests/fuzz/corpus, which is tried unchanged, too.
"""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

CORPUS = Path(__file__).resolve().parents[2] / "fuzz" / "corpus"
TIMES = int(os.environ.get("FUZZ_TIMES", "1"))
WORDS = (
    b"\0",
    b"\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x00\x00\xff\x7f",
    b"\xff\xff\xff\x7f",
    b"\x80",
    b"RIFF",
    b"RIFX",
    b"RF64",
    b"WAVE",
    b"data",
    b"fmt ",
    b"ds64",
    b"ID3\4\0\0\x7f\x7f\x7f\x7f",
    b"OggS\0\x02",
    b"OggS\0\x04",
    b"--xyz",
    b"--xyz--",
    b"\r\n",
    b"\r\n\r\n",
    b'"',
    b"=",
    b";",
    b"Content-Disposition: form-data; name=",
    b"Content-Transfer-Encoding: base64",
)
"""What formats give a meaning to."""

_PLACES = st.integers(0, 0xFFFF)
_EDITS = st.lists(
    st.tuples(
        st.sampled_from(["replace", "insert", "delete", "repeat", "flip", "cut", "splice"]),
        _PLACES,
        _PLACES,
        st.sampled_from(WORDS) | st.binary(min_size=1, max_size=8),
    ),
    max_size=5,
)
_MAX_REPEATED_BYTES = 1024


def corpus(*kinds: str) -> list[bytes]:
    """The files of these folders, in order of their names."""
    return [path.read_bytes() for kind in kinds for path in sorted((CORPUS / kind).iterdir())]


def mutated(*kinds: str) -> st.SearchStrategy[bytes]:
    """Files of the corpus with a few edits, or with none."""
    files = corpus(*kinds)
    return st.builds(_edited, st.sampled_from(files), _EDITS, st.sampled_from(files))


def examples(n_examples: int) -> settings:
    """For one fuzz target: `n_examples` in `make test`."""
    return settings(
        max_examples=n_examples * TIMES,
        derandomize=TIMES == 1,
        deadline=None,  # a busy machine takes its time; costs are bounded elsewhere
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def _edited(content: bytes, edits: list[tuple[str, int, int, bytes]], other: bytes) -> bytes:
    for kind, first, second, word in edits:
        at, end = sorted((first % (len(content) + 1), second % (len(content) + 1)))
        match kind:
            case "replace":
                content = content[:at] + word + content[at + len(word) :]
            case "insert":
                content = content[:at] + word + content[at:]
            case "delete":
                content = content[:at] + content[end:]
            case "repeat":
                content = content[:end] + content[at:end][:_MAX_REPEATED_BYTES] + content[end:]
            case "flip" if at < len(content):
                content = content[:at] + bytes([content[at] ^ word[0]]) + content[at + 1 :]
            case "cut":
                content = content[:at]
            case "splice":
                content = content[:at] + other[at:]
    return content

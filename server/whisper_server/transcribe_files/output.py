"""Output of transcripts and messages: whole files, stdout for transcripts only, and a progress bar on stderr."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tqdm import tqdm

_BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} s of sound [{elapsed}<{remaining}]"


class Progress:
    """A progress bar in seconds of audio. Until every file is decoded, the total is estimated from the files' sizes."""

    def __init__(self, n_bytes: int) -> None:
        self.bar = tqdm(bar_format=_BAR, file=sys.stderr, disable=None)
        self._n_bytes = n_bytes
        self._n_bytes_known = 0
        self._known_s = 0.0
        self._done_s = 0.0

    def expect(self, n_bytes: int, duration_s: float) -> None:
        """Report the duration of a file of `n_bytes`."""
        self._n_bytes_known += n_bytes
        self._known_s += duration_s
        self.bar.total = round(self._known_s * max(1.0, self._n_bytes / max(1, self._n_bytes_known)))
        self.advance(0)

    def advance(self, duration_s: float) -> None:
        """Report `duration_s` more as transcribed."""
        self._done_s += duration_s
        self.bar.update(round(self._done_s) - self.bar.n)

    def say(self, message: str) -> None:
        """Print a line above the bar."""
        self.bar.clear()
        print(f"whisper-server: {message}", file=sys.stderr)  # noqa: T201 - for the person who started it


def write_whole(path: Path, content: bytes) -> None:
    """Write the whole file or nothing: a temporary file in the same folder is renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def print_transcript(body: str) -> None:
    sys.stdout.buffer.write(body.encode() if body.endswith("\n") else f"{body}\n".encode())
    sys.stdout.buffer.flush()

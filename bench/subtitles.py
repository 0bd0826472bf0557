"""Readable subtitles of people's prompts: are the limits kept, are all words there, and how late is a cue at most?

Whisper base over HTTP; the times are compared with the server's own words of the same recording. Prints a table for
bench/RESULTS.md.

    PYTHONPATH=tests/kit:demo:server:runtime python bench/subtitles.py --prompts 12
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from wcwidth import wcswidth

from real_kit.speech import LANGUAGES, Recording, fast, long_recording, wav
from real_kit.weights import base_checkpoint
from server_kit.api import Api
from server_kit.process import running

_CUE = re.compile(r"\d+\n(\S+) --> (\S+)\n(.+?)\n\n", re.DOTALL)


@dataclass(frozen=True)
class Cue:
    """One cue of an srt file."""

    start_s: float
    end_s: float
    lines: Sequence[str]

    @property
    def cps(self) -> float:
        return wcswidth(" ".join(self.lines)) / (self.end_s - self.start_s)


def cues_of(subtitles: str) -> list[Cue]:
    return [Cue(seconds(start), seconds(end), text.split("\n")) for start, end, text in _CUE.findall(subtitles)]


def seconds(clock: str) -> float:
    hours, minutes, rest = clock.replace(",", ".").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def row(name: str, cues: Sequence[Cue], words: Sequence[Any]) -> str:
    """Of one recording as one kind of subtitles; `words` are those of verbose_json."""
    said = "".join("".join(word["word"].split()) for word in words)
    shown = "".join("".join("".join(cue.lines).split()) for cue in cues)
    starts_s, n_before = {}, 0
    for word in words:
        starts_s[n_before] = word["start"]
        n_before += len("".join(word["word"].split()))
    late_s, n_before = [], 0
    for cue in cues:
        if n_before in starts_s:
            late_s.append(cue.start_s - starts_s[n_before])
        n_before += len("".join("".join(cue.lines).split()))
    figures = [
        str(len(cues)),
        str(max(len(cue.lines) for cue in cues)),
        str(max(wcswidth(line) for cue in cues for line in cue.lines)),
        f"{max(cue.end_s - cue.start_s for cue in cues):.1f} s",
        f"{max(cue.cps for cue in cues):.1f}",
        str(sum(cue.cps > 20.001 for cue in cues)),
        f"{min(right.start_s - left.end_s for left, right in pairwise(cues)):.3f} s",
        f"{max(late_s):.2f} s",
        "all" if said == shown else "not the same",
    ]
    return f"| {name} | {' | '.join(figures)} |"


def rows(api: Api, recording: Recording, name: str) -> None:
    audio, language = wav(recording.sound), recording.language
    words = api.verbose(audio, language=language, timestamp_granularities=["word"])["words"]
    for kind, fields in (("as before", {}), ("readable", {"max_line_count": "2"})):
        answer = api.post(audio, language=language, response_format="srt", **fields)
        print(row(f"{name}, {kind}", cues_of(answer.text), words), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=12)
    n_prompts = parser.parse_args().prompts
    settings = {"MODEL_ID": str(base_checkpoint()), "CPU_THREADS": str(len(os.sched_getaffinity(0)))}
    with TemporaryDirectory() as folder, running(settings, Path(folder)) as server:
        api = Api(server.url)
        heads = "| recording | cues | lines | columns | longest | columns/s | over 20 | least gap | late | words |"
        print(f"{heads}\n{'|---' * 10}|")
        for language in LANGUAGES:
            rows(api, long_recording(language, n_prompts, 11), language)
        rows(api, fast(long_recording("en", n_prompts, 11)), "en 1.8 × as fast")
        api.close()


if __name__ == "__main__":
    main()

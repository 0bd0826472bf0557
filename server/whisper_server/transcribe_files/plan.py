"""The files to transcribe, the options for all of them, and the paths of the transcripts. Pure, except for file sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from whisper_server.api.options import Granularity, ResponseFormat
from whisper_server.api.speakers import SpeakersSpec
from whisper_server.api.subtitles.limits import CueShape
from whisper_server.whisper.transcript import Options

SUFFIXES = {
    ResponseFormat.SRT: ".srt",
    ResponseFormat.VTT: ".vtt",
    ResponseFormat.JSON: ".json",
    ResponseFormat.VERBOSE_JSON: ".json",
    ResponseFormat.TEXT: ".txt",
    ResponseFormat.DIARIZED_JSON: ".json",
    ResponseFormat.RTTM: ".rttm",
}


@dataclass(frozen=True)
class RunOptions:
    """The options for every file."""

    options: Options
    response_format: ResponseFormat
    granularities: tuple[Granularity, ...]
    cue_shape: CueShape | None = None
    speakers: SpeakersSpec | None = None


@dataclass(frozen=True)
class SourceFile:
    """A file and the path of its transcript."""

    source: Path
    output: Path | None
    """None: stdout."""

    @property
    def n_bytes(self) -> int:
        """0 if the size is unknown; reading the file reports why."""
        try:
            return self.source.stat().st_size
        except OSError:
            return 0


def output_paths(sources: Sequence[Path], folder: Path | None, suffix: str) -> list[Path | None]:
    """NAME.srt in `folder` for each source; NAME-2.srt if another source has that name already."""
    if folder is None:
        return [None] * len(sources)
    taken: set[str] = set()
    outputs: list[Path | None] = []
    for source in sources:
        name, number = f"{source.stem}{suffix}", 1
        while name.casefold() in taken:
            number += 1
            name = f"{source.stem}-{number}{suffix}"
        taken.add(name.casefold())
        outputs.append(folder / name)
    return outputs

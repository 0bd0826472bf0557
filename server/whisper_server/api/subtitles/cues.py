"""A transcript as readable cues: within their limits, one after the other, two frames apart, at the times of their words.

Each speaker's words are cut for themselves; where two speak at a time, one's cue follows the other's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from whisper_server.api.cues import Cue, milliseconds
from whisper_server.api.subtitles.layout import MIN_CUE_S, Line, atoms_of, cut_into_cues, cut_into_lines
from whisper_server.api.subtitles.limits import MAX_CUE_MS, CueLimits, CueShape, limits_of
from whisper_server.api.subtitles.pieces import Piece, columns, pieces_of
from whisper_server.whisper.transcript import Task, Transcript

GAP_MS = 84
"""Two frames at 24 per second, Netflix's least distance."""
_MIN_SHOWN_MS = 84


@dataclass(frozen=True)
class _Draft:
    """A cue whose words have their times, and the cue not yet."""

    lines: Sequence[Line]
    speaker: str | None

    @property
    def pieces(self) -> list[Piece]:
        return [piece for line in self.lines for piece in line]

    @property
    def start_s(self) -> float:
        return self.lines[0][0].start_s

    @property
    def end_s(self) -> float:
        return self.lines[-1][-1].end_s

    @property
    def text(self) -> str:
        return "\n".join(_text(line) for line in self.lines)


def readable_cues(transcript: Transcript, shape: CueShape, *, has_labels: bool) -> Iterator[Cue]:
    """The cues of `transcript`; `has_labels`: a speaker's name takes columns of the first line (SubRip)."""
    language = "en" if transcript.task is Task.TRANSLATE else transcript.language
    limits = limits_of(shape, language)
    drafts: list[_Draft] = []
    for speaker in dict.fromkeys(segment.speaker for segment in transcript.segments):
        drafts += _drafts(transcript, speaker, limits, language, has_labels=has_labels)
    drafts.sort(key=lambda draft: draft.start_s)
    for draft, (start_ms, end_ms) in zip(drafts, _times(drafts, limits), strict=True):
        if shape.highlight_words:
            yield from _word_by_word(draft, start_ms, end_ms)
        else:
            yield Cue(start_ms, end_ms, draft.text, draft.speaker)


def _drafts(
    transcript: Transcript, speaker: str | None, limits: CueLimits, language: str, *, has_labels: bool
) -> Iterator[_Draft]:
    """The cues of one speaker."""
    label_columns = columns(f"{speaker}: ") if speaker and has_labels else 0
    # A name that is longer than half of a line does not count: it would leave no room for words.
    first_columns = limits.line_width - (label_columns if 2 * label_columns <= limits.line_width else 0)
    max_columns = min(first_columns, limits.cue_columns)
    segments = [segment for segment in transcript.segments if segment.speaker == speaker]
    atoms = atoms_of(pieces_of(segments, language, max_columns), limits, language, max_columns)
    for cue in cut_into_cues(atoms, limits, first_columns):
        yield _Draft(cut_into_lines(cue, limits, first_columns), speaker)


def _times(drafts: Sequence[_Draft], limits: CueLimits) -> Iterator[tuple[int, int]]:
    """(start, end) of each cue in ms: when its words are said, or later where those before it take longer to read."""
    free_ms = 0
    for draft, following in pairwise([*drafts, None]):
        assert draft is not None
        start_ms = max(free_ms, milliseconds(draft.start_s))
        readable_ms = start_ms + max(_MIN_SHOWN_MS, limits.reading_ms(columns(draft.text.replace("\n", " "))))
        end_ms = max(readable_ms, milliseconds(draft.end_s), start_ms + round(1000 * MIN_CUE_S))
        if following is not None:
            end_ms = max(readable_ms, min(end_ms, milliseconds(following.start_s) - GAP_MS))
        end_ms = min(end_ms, start_ms + MAX_CUE_MS)
        yield start_ms, end_ms
        free_ms = end_ms + GAP_MS


def _word_by_word(draft: _Draft, start_ms: int, end_ms: int) -> Iterator[Cue]:
    """The cue as one cue per word, which is marked while it is said, as openai/whisper's `highlight_words` does."""
    text, now_ms = draft.text, start_ms
    for piece, span in zip(draft.pieces, _spans(draft.lines), strict=True):
        begin_ms = min(max(now_ms, milliseconds(piece.start_s)), end_ms)
        until_ms = min(milliseconds(piece.end_s), end_ms)
        if until_ms <= begin_ms:
            continue
        if begin_ms > now_ms:
            yield Cue(now_ms, begin_ms, text, draft.speaker)
        yield Cue(begin_ms, until_ms, text, draft.speaker, span)
        now_ms = until_ms
    if now_ms < end_ms:
        yield Cue(now_ms, end_ms, text, draft.speaker)


def _spans(lines: Sequence[Line]) -> Iterator[tuple[int, int]]:
    """The characters of each piece in the cue's text."""
    at = 0
    for line in lines:
        for index, piece in enumerate(line):
            begin = at + int(piece.has_space and index > 0)
            at = begin + len(piece.text)
            yield begin, at
        at += 1


def _text(line: Line) -> str:
    return "".join((" " if piece.has_space and index else "") + piece.text for index, piece in enumerate(line))

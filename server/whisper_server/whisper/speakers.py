"""Speakers of words: turns, and the segments and words of a transcript with their speakers. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby, pairwise
from string import ascii_uppercase

from whisper_server.whisper.transcript import Segment, Transcript, Word, placed_words


@dataclass(frozen=True)
class Turn:
    """One speaker speaks; turns of several may overlap."""

    start_s: float
    end_s: float
    speaker: str


def letter(index: int) -> str:
    """A, B, … Z, AA, AB, …: OpenAI's names of speakers that have none."""
    name = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, len(ascii_uppercase))
        name = ascii_uppercase[rest] + name
    return name


def named(turns: Sequence[Turn], names: Mapping[str, str]) -> tuple[Turn, ...]:
    """The turns with the names that are known; the other speakers get letters, by first appearance."""
    taken = set(names.values())
    free = (name for name in map(letter, range(len(turns) + len(taken) + 1)) if name not in taken)
    called = dict(names)
    for turn in turns:
        if turn.speaker not in called:
            called[turn.speaker] = next(free)
    return tuple(replace(turn, speaker=called[turn.speaker]) for turn in turns)


def with_speakers(transcript: Transcript, turns: Sequence[Turn]) -> Transcript:
    """The transcript with a speaker for each word and segment; segments are cut where the speaker changes.

    A word belongs to the speaker of most of its time; between turns, to the speaker nearest to it.
    """
    pieces = segments_with_speakers(transcript.segments, turns)
    return replace(transcript, segments=tuple(replace(piece, id=index) for index, piece in enumerate(pieces)))


def segments_with_speakers(segments: Sequence[Segment], turns: Sequence[Turn]) -> Iterator[Segment]:
    """The segments with their speakers, cut where the speaker changes; where there are words but no turns, one speaks."""
    for segment in segments:
        near = turns or (Turn(segment.start_s, segment.end_s, letter(0)),)
        yield from _pieces(segment, near)


def speaker_at(start_s: float, end_s: float, turns: Sequence[Turn]) -> str:
    """The speaker of most of the time from `start_s` to `end_s`, else the one nearest to it. `turns` is not empty."""
    time_of: dict[str, float] = {}
    for turn in turns:
        if (shared_s := min(end_s, turn.end_s) - max(start_s, turn.start_s)) > 0:
            time_of[turn.speaker] = time_of.get(turn.speaker, 0.0) + shared_s
    if time_of:
        return max(time_of, key=lambda speaker: time_of[speaker])
    return min(turns, key=lambda turn: max(turn.start_s - end_s, start_s - turn.end_s)).speaker


def _pieces(segment: Segment, turns: Sequence[Turn]) -> Iterator[Segment]:
    """The segment, or its parts by speaker where its words have times and are its text."""
    near = [turn for turn in turns if turn.end_s > segment.start_s and turn.start_s < segment.end_s] or turns
    words = [replace(word, speaker=speaker_at(word.start_s, word.end_s, near)) for word in segment.words]
    runs = [tuple(run) for _, run in groupby(words, key=lambda word: word.speaker)]
    texts = _texts(segment, runs)
    if len(runs) < 2 or texts is None:
        speaker = runs[0][0].speaker if len(runs) == 1 else speaker_at(segment.start_s, segment.end_s, near)
        yield replace(segment, words=tuple(words), speaker=speaker)
        return
    for number, (run, text) in enumerate(zip(runs, texts, strict=True)):
        start_s = segment.start_s if number == 0 else run[0].start_s
        end_s = segment.end_s if number == len(runs) - 1 else run[-1].end_s
        tokens = segment.tokens if number == 0 else ()
        yield replace(
            segment,
            start_s=start_s,
            end_s=max(start_s, end_s),
            text=text,
            tokens=tokens,
            words=run,
            speaker=run[0].speaker,
        )


def _texts(segment: Segment, runs: Sequence[Sequence[Word]]) -> list[str] | None:
    """The parts of the text that the runs of words make up; None if a word is not in it."""
    placed = placed_words(segment)
    if not placed:
        return None
    ends = [placed[n_words - 1].end for n_words in accumulate(map(len, runs))]
    return [segment.text[begin:end] for begin, end in pairwise([0, *ends[:-1], len(segment.text)])]

"""Which words make a cue, and which of them its lines: the cheapest way to cut a text, found by dynamic programming.

As in Knuth and Plass, "Breaking Paragraphs into Lines" (1981), a break has a cost, and the costs of the whole text are added
up. Unlike there, a limit is never exceeded: a number or a name is cut where it has no room in a line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from whisper_server.api.subtitles.breaks import ANYWHERE, GLUED, cost_of_break
from whisper_server.api.subtitles.limits import CueLimits
from whisper_server.api.subtitles.pieces import Piece
from whisper_server.whisper.transcript import MAX_CUE_S

MAX_PAUSE_S = 1.5
"""A cue does not stay over a longer silence between two of its words."""
MIN_CUE_S = 5 / 6
"""The shortest that a cue should be shown: 20 frames, Netflix's minimum."""
_CUE_COST = 6.0
"""More cues are worse than a break at a comma, better than one in mid-phrase."""
_SHORT_COST = 4.0
_PAUSE_BONUS_PER_S = 6.0
_UNEVEN_COST = 12.0


@dataclass(frozen=True)
class Atom:
    """Pieces that are not parted: most often one word."""

    pieces: tuple[Piece, ...]
    width: int
    cost_before: float = ANYWHERE
    """Of a break before it."""

    @property
    def start_s(self) -> float:
        return self.pieces[0].start_s

    @property
    def end_s(self) -> float:
        return self.pieces[-1].end_s

    @property
    def space(self) -> int:
        """Columns between it and what is before it in the line."""
        return int(self.pieces[0].has_space)


Line = tuple[Piece, ...]


class Room:
    """The lines of one cue, filled from the first on."""

    def __init__(self, limits: CueLimits, first_line_columns: int) -> None:
        self._limits = limits
        self._line_columns = first_line_columns
        self._width = self._n_words = 0
        self.n_lines = 1
        self.n_columns = 0

    def add(self, atom: Atom) -> bool:
        """False: it has no room."""
        limits, n_words = self._limits, len(atom.pieces)
        self.n_columns += atom.width + (atom.space if self._n_words else 0)
        width = atom.width + (atom.space if self._n_words else 0)
        if self._n_words and (
            self._width + width > self._line_columns or self._n_words + n_words > limits.words_per_line
        ):
            self.n_lines += 1
            self._width = self._n_words = 0
            self._line_columns = limits.line_width
            width = atom.width
        self._width += width
        self._n_words += n_words
        return self.n_lines <= limits.line_count and self.n_columns <= limits.cue_columns


def atoms_of(pieces: Sequence[Piece], limits: CueLimits, language: str, max_columns: int) -> list[Atom]:
    """Words, and numbers and names of several words as far as a line of `max_columns` has room for them."""
    atoms: list[Atom] = []
    for index, piece in enumerate(pieces):
        left = pieces[index - 1] if index else None
        after = pieces[index + 1] if index + 1 < len(pieces) else None
        cost = cost_of_break(left, piece, after, language) if left else 0.0
        if cost >= GLUED and left is not None:
            last = atoms[-1]
            width = last.width + int(piece.has_space) + piece.width
            is_long = piece.end_s - last.start_s > MAX_CUE_S or piece.start_s - left.end_s > MAX_PAUSE_S
            if width <= max_columns and len(last.pieces) < limits.words_per_line and not is_long:
                atoms[-1] = Atom((*last.pieces, piece), width, last.cost_before)
                continue
        atoms.append(Atom((piece,), piece.width, cost))
    return atoms


def cut_into_cues(atoms: Sequence[Atom], limits: CueLimits, first_line_columns: int) -> Iterator[Sequence[Atom]]:
    """The atoms of each cue."""
    best = [0.0] + [float("inf")] * len(atoms)
    begins = [0] * (len(atoms) + 1)
    for first in range(len(atoms)):
        room = Room(limits, first_line_columns)
        for index in range(first, len(atoms)):
            atom = atoms[index]
            if (not room.add(atom) or _is_over(atoms, first, index)) and index > first:
                break
            cost = best[first] + _cost_of_cue(atoms, first, index, room.n_columns)
            if cost < best[index + 1]:
                best[index + 1], begins[index + 1] = cost, first
    cues: list[Sequence[Atom]] = []
    end = len(atoms)
    while end:
        cues.append(atoms[begins[end] : end])
        end = begins[end]
    return reversed(cues)


def _is_over(atoms: Sequence[Atom], first: int, index: int) -> bool:
    """Whether a cue cannot go on to `index`: too long a time, or too long a silence."""
    if index > first and atoms[index].start_s - atoms[index - 1].end_s > MAX_PAUSE_S:
        return True
    return atoms[index].end_s - atoms[first].start_s > MAX_CUE_S


def _cost_of_cue(atoms: Sequence[Atom], first: int, last: int, n_columns: int) -> float:
    cost = _CUE_COST
    if last + 1 < len(atoms):
        pause_s = max(0.0, atoms[last + 1].start_s - atoms[last].end_s)
        cost += max(0.0, atoms[last + 1].cost_before - _PAUSE_BONUS_PER_S * pause_s)
    cost += _SHORT_COST * max(0.0, 1 - (atoms[last].end_s - atoms[first].start_s) / MIN_CUE_S)
    return cost + _SHORT_COST * max(0.0, 1 - n_columns / 10)


def cut_into_lines(atoms: Sequence[Atom], limits: CueLimits, first_line_columns: int) -> list[Line]:
    """As few lines as hold the atoms, of about the same length, cut at the best places."""
    room = Room(limits, first_line_columns)
    for atom in atoms:
        room.add(atom)
    if room.n_lines == 1:
        return [tuple(piece for atom in atoms for piece in atom.pieces)]
    even_columns = max(1, room.n_columns) / room.n_lines
    # costs[index]: the cheapest way to set the atoms before `index` in so many lines, and where the last of these begins.
    costs: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    for number in range(room.n_lines):
        line_columns = limits.line_width if number else first_line_columns
        following: dict[int, tuple[float, tuple[int, ...]]] = {}
        for begin, (cost, begins) in costs.items():
            for end, width in _line_ends(atoms, begin, line_columns, limits.words_per_line):
                uneven = _UNEVEN_COST * ((width - even_columns) / even_columns) ** 2
                total = cost + uneven + (atoms[end].cost_before if end < len(atoms) else 0.0)
                if total < following.get(end, (float("inf"), ()))[0]:
                    following[end] = (total, (*begins, begin))
        costs = following
    bounds = (*costs[len(atoms)][1], len(atoms))
    return [tuple(piece for atom in atoms[begin:end] for piece in atom.pieces) for begin, end in pairwise(bounds)]


def _line_ends(atoms: Sequence[Atom], begin: int, line_columns: int, max_words: float) -> Iterator[tuple[int, int]]:
    """(end, columns) of each line that may begin with the atom `begin`."""
    width, n_words = 0, 0
    for index in range(begin, len(atoms)):
        atom = atoms[index]
        width += atom.width + (atom.space if index > begin else 0)
        n_words += len(atom.pieces)
        if index > begin and (width > line_columns or n_words > max_words):
            return
        yield index + 1, width

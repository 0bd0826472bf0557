"""How large a cue may be: what a request asks for, and what its language has where the request says nothing.

The names `max_line_width`, `max_line_count`, `max_words_per_line` and `highlight_words` are those of openai/whisper.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from whisper_server.whisper.transcript import MAX_CUE_S

MAX_CUE_MS = round(MAX_CUE_S * 1000)
_LINE_WIDTH = 42
_LINE_COUNT = 2
_COLUMNS_PER_S = 20.0
"""BBC's and Netflix's guides: two lines of 42 characters, 20 characters per second for adults."""
_LINE_WIDTH_OF: Mapping[str, int] = {"zh": 32, "yue": 32, "ko": 32, "ja": 26}
"""Netflix's guides: 16 full-width characters a line in Chinese and Korean, 13 in Japanese. A full-width character takes two
columns. Its speeds (Japanese: 4 characters per second) are for translations that leave words out, so they are not taken."""
BOUNDS: Mapping[str, tuple[int, int]] = {
    "max_line_width": (8, 200),
    "max_line_count": (1, 10),
    "max_words_per_line": (1, 100),
    "max_cps": (1, 200),
}
"""What a request may ask for."""


@dataclass(frozen=True)
class CueShape:
    """What a request asks of its cues; None: as the language has it."""

    max_line_width: int | None = None
    """Columns: most characters take one, full-width ones two."""
    max_line_count: int | None = None
    max_words_per_line: int | None = None
    max_cps: float | None = None
    """Columns per second."""
    highlight_words: bool = False

    @property
    def asks_for_nothing(self) -> bool:
        return self == CueShape()


@dataclass(frozen=True)
class CueLimits:
    """The limits that hold for every cue."""

    line_width: int
    line_count: int
    words_per_line: float
    """Infinite: no limit."""
    cps: float
    """Infinite: no limit."""

    @property
    def cue_columns(self) -> int:
        """As many as can be read in the longest time that a cue is shown."""
        columns = self.line_width * self.line_count
        return columns if math.isinf(self.cps) else min(columns, math.floor(self.cps * MAX_CUE_S))

    def reading_ms(self, n_columns: int) -> int:
        """The shortest time in which so many columns can be read."""
        return 0 if math.isinf(self.cps) else math.ceil(n_columns * 1000 / self.cps)


def limits_of(shape: CueShape, language: str) -> CueLimits:
    """The limits of subtitles written in `language`.

    As in openai/whisper, `max_words_per_line` alone makes cues of one line that are shown while they are spoken.
    """
    by_words = shape.max_words_per_line is not None and shape.max_line_count is None and shape.max_line_width is None
    return CueLimits(
        line_width=shape.max_line_width or _LINE_WIDTH_OF.get(language, _LINE_WIDTH),
        line_count=shape.max_line_count or (1 if by_words else _LINE_COUNT),
        words_per_line=shape.max_words_per_line or math.inf,
        cps=shape.max_cps or (math.inf if by_words else _COLUMNS_PER_S),
    )

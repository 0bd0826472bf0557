"""When a pass over a piece is due, and over which samples. Pure.

Passes are spent where new speech is: a session that listens to silence takes nothing from the engine. One pass of a session
runs at a time, so a busy engine makes passes rarer, not the queue longer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from whisper_server.live.turn import Piece
from whisper_server.live.window_cut import KEPT_WORDS
from whisper_server.whisper.constants import SAMPLE_RATE_HZ

MIN_NEW_S = 0.4
"""Speech since the last pass, before another one is worth its while: a word or two."""
PAUSE_S = 0.15
"""A pause after new speech, however little: the words before it are whole."""
SLIDE_S = 14.0
"""A longer window leaves its first confirmed words: passes get no cheaper by it, but a window must end before 30 s."""
TOKENS_PER_S = 25
"""Speech has 5 to 10. A pass that repeated itself up to the 224 tokens of a file's window took 2 s instead of 0.6."""
TOKENS_STEP = 24
"""CTranslate2 decodes only requests with one limit together."""


@dataclass(frozen=True)
class Pass:
    """A pass that is due."""

    start: int
    end: int
    is_final: bool
    is_cut: bool = False
    """The sound ends in mid-speech."""
    with_words: bool = False
    """With times of words, by which the window slides."""


def due_pass(piece: Piece, *, arrived: int, speech_until: int, silent_samples: int, max_samples: int) -> Pass | None:
    """The pass that is due over a piece; None: wait for more sound.

    `arrived` is the end of the sound that the voice detector has heard, `speech_until` that of its last speech,
    `silent_samples` the silence after that.
    """
    end = arrived if piece.end is None else piece.end
    if piece.end is not None:
        return Pass(piece.start, piece.end, is_final=True)
    new_s = (min(speech_until, end) - max(piece.start, piece.heard_until)) / SAMPLE_RATE_HZ
    is_paused = silent_samples >= PAUSE_S * SAMPLE_RATE_HZ
    if new_s < MIN_NEW_S and not (new_s > 0 and is_paused):
        return None
    is_long = end - piece.start > min(SLIDE_S * SAMPLE_RATE_HZ, max_samples / 2)
    with_words = is_long and piece.agreement.n_confirmed > KEPT_WORDS
    return Pass(piece.start, end, is_final=False, is_cut=not is_paused, with_words=with_words)


def is_too_long(piece: Piece, arrived: int, max_samples: int) -> bool:
    """Whether no window holds the piece: the passes have fallen behind, or have confirmed nothing for long."""
    return (arrived if piece.end is None else piece.end) - piece.start > max_samples


def max_tokens(piece: Piece, due: Pass) -> int:
    """Tokens after which a pass is given up as a loop: a quarter more than the last pass had, and 25 per second of new sound."""
    n_before = 0 if piece.heard is None else piece.heard.n_output_tokens
    heard_until = due.start if piece.heard is None else piece.heard_until
    new_s = (due.end - max(due.start, heard_until)) / SAMPLE_RATE_HZ
    wanted = n_before * 5 / 4 + TOKENS_PER_S * new_s + TOKENS_STEP
    return math.ceil(wanted / TOKENS_STEP) * TOKENS_STEP

"""The words of a session, by their sound: the text before a window, and the sound that its passes hear once more. Pure.

A sentence alone is heard worse than among others: a pass over a piece hears the sound before it, too, and goes on from its text.
Source: `prefix` of openai/whisper's `DecodingOptions`. With Whisper base on 45 recordings of people in five languages (5,161 words, a
GPU's speed) 13.3 % of words are wrong by it, instead of 14.4; as files 12.6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from whisper_server.live.text_units import appended
from whisper_server.live.turn import Said
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.mel import MIN_PADDED_S, PADDED_STEP_S, PADDING_S

CUT_S = MIN_PADDED_S - PADDING_S
"""Of a window with its context, where the sound is cut off in speech and another pass follows soon: so much is encoded in the time of a
short window."""
WHOLE_S = 27
"""The same in a pause and for the last pass, on a GPU that is not busy. With it for all passes 13.2 % of words are wrong, with 20 s for
all 13.4."""
SLOW_WHOLE_S = CUT_S + PADDED_STEP_S
"""The same on a CPU, which encodes 20 s in 0.48 s of a core and 30 s in 1.25 (Whisper base)."""
BUSY_PASS_S = 0.2
"""A GPU whose passes take longer is busy: 200 sessions of turbo's shape on an H200."""
MAX_SAMPLES = WHOLE_S * SAMPLE_RATE_HZ
"""That a session holds for it: up to 2.5 MB."""
MAX_TOKENS = 120
"""Of a context's text, of which 27 s have some 90 in most languages; more cost each pass, and the graph of an H200 that is not captured."""
MIN_CONFIDENCE = 0.75
"""Of the voice detector, as the highest mean over 128 ms. Of a window that begins with speech the model does not report that nothing is
said, so what may be music (0.67 at most) or noise is heard alone. Recordings of people reach 0.78 at least."""
EARLIER_CHARACTERS = 600
"""Of the text before a window, which are its prompt; the model gets fewer tokens of it."""


@dataclass
class SoFar:
    """The words of the session's earlier turns."""

    said: list[Said] = field(default_factory=list)

    @property
    def language(self) -> str | None:
        """Of the last words."""
        return language_of(self.said)

    def add(self, said: Iterable[Said]) -> None:
        """A turn is complete. Of sound without words that follows other such sound nothing is kept."""
        for one in said:
            if one.text or (self.said and self.said[-1].text):
                self.said.append(one)
        n_characters = sum(len(one.text) for one in self.said)
        while self.said and n_characters > EARLIER_CHARACTERS + len(self.said[0].text):
            n_characters -= len(self.said.pop(0).text)

    def end_context(self) -> None:
        """There is sound now whose text is not known: the words before it are no context for those that follow, but their prompt."""
        self.add([Said(0, "", "")])


def window_samples(*, is_cut: bool, is_slow: bool, pass_s: float) -> int:
    """How much sound a pass may hear with its context, if passes take `pass_s`; `is_slow`: on a CPU."""
    whole_s = SLOW_WHOLE_S if is_slow else WHOLE_S if pass_s <= BUSY_PASS_S else CUT_S
    return (CUT_S if is_cut else whole_s) * SAMPLE_RATE_HZ


def n_in_context(said: Sequence[Said], start: int, language: str, n_tokens: Callable[[str], int]) -> int:
    """How many of `said`, the last ones, a pass may hear again: those since the sample `start`, in its language.

    None before sound without words: its text is not known.
    """
    n_found = n_text_tokens = 0
    for one in reversed(said):
        n_text_tokens += n_tokens(one.text)
        if not one.text or one.language != language or n_text_tokens > MAX_TOKENS or one.start < start:
            break
        n_found += 1
    return n_found


def language_of(said: Sequence[Said]) -> str | None:
    """That of the last words."""
    return next((one.language for one in reversed(said) if one.text), None)


def text_of(said: Sequence[Said]) -> str:
    """The whole text."""
    return "".join(appended(one.text, one.language) for one in said)


def earlier_text(said: Sequence[Said], language: str | None) -> str:
    """The end of the text, as far as it is in the language of its end; empty if it is in another one than `language`, if that is known."""
    said = [one for one in said if one.text]
    first, n_characters = len(said), 0
    while first and n_characters <= EARLIER_CHARACTERS and said[first - 1].language == said[-1].language:
        first -= 1
        n_characters += len(said[first].text)
    return text_of(said[first:]) if language in (None, language_of(said)) else ""

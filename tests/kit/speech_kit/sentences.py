"""Sentences that the demo model was not trained on, and the voices that speak them.

`everyday` was written for this project; `heldout` is the recipe's held-out set.
`sentences/README.md` says how each list was made, and how we know that it is not in the training data.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from speech_kit.espeak import Utterance, Voice, speak

LANGUAGES = ("en", "de", "es", "ru")
LANGUAGE_NAMES = {"en": "english", "de": "german", "es": "spanish", "ru": "russian"}
_VOICES = {"en": "en-us", "de": "de", "es": "es", "ru": "ru"}
_VARIANTS = ("", "+m2", "+f2")


Collection = Literal["everyday", "heldout"]


@cache
def sentences(language: str, collection: Collection = "everyday") -> tuple[str, ...]:
    """All sentences of a list: 64 everyday ones, 128 held-out ones (in the recipe's order)."""
    path = Path(__file__).parent / "sentences" / collection / f"{language}.txt"
    return tuple(path.read_text(encoding="utf-8").splitlines())


@cache
def spoken(language: str, index: int, collection: Collection = "everyday") -> Utterance:
    """A sentence in the voice that the recipe's evaluation uses for its index: three voices in rotation."""
    voice = Voice(_VOICES[language] + _VARIANTS[index % len(_VARIANTS)])
    return speak(sentences(language, collection)[index], voice)


@cache
def said(text: str, language: str = "en", variant: str = "") -> Utterance:
    """Any text in the first voice of a language."""
    return speak(text, Voice(_VOICES[language] + variant))

"""What a server makes of known sentences, asked once a session and judged by many tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server_kit.api import Api, in_flight
from speech_kit.espeak import Utterance
from speech_kit.sentences import Collection, spoken
from speech_kit.sounds import wav
from suite_kit.slow import IN_SHORT

TIMED: Mapping[str, Any] = {"response_format": "verbose_json", "timestamp_granularities": ["word", "segment"]}
"""Fields that ask for everything that has a time."""
N_SENTENCES: Mapping[tuple[str, Collection], int] = {
    ("en", "everyday"): 64,
    ("en", "heldout"): 90,
    ("de", "everyday"): 64,
    ("de", "heldout"): 32,
    ("es", "everyday"): 32,
    ("es", "heldout"): 64,
    ("ru", "everyday"): 32,
    ("ru", "heldout"): 64,
}
"""The first so many; English has as many as fill ten minutes."""
N_SHORT = 10
"""Of each main collection in `make test`: 40 CPU seconds instead of 320."""
MAIN_COLLECTION: Mapping[str, Collection] = {"en": "everyday", "de": "everyday", "es": "heldout", "ru": "heldout"}
"""The one with 64 sentences or more on which the project's targets hold."""


@dataclass(frozen=True)
class Pair:
    """A sentence and the verbose_json that came back for it."""

    said: Utterance
    answer: Any


class Heard:
    """Sentences through a server, a language at a time, kept."""

    def __init__(self, api: Api, *, main_only: bool = False) -> None:
        self._api = api
        self._main_only = main_only
        self._kept: dict[tuple[str, Collection], list[Pair]] = {}

    def sentences(self, language: str, collection: Collection = "everyday") -> list[Pair]:
        """The first sentences of a collection; the requests do not name their language."""
        key = (language, collection)
        if key not in self._kept:
            n_sentences = N_SHORT if IN_SHORT else N_SENTENCES[key]
            utterances = [spoken(language, index, collection) for index in range(n_sentences)]
            answers = in_flight(lambda utterance: self._api.json(wav(utterance.samples), **TIMED), utterances)
            self._kept[key] = [Pair(*pair) for pair in zip(utterances, answers, strict=True)]
        return self._kept[key]

    def both(self, language: str) -> list[Pair]:
        """Of both collections, or of the main one where the other would take too long."""
        if self._main_only:
            return self.sentences(language, MAIN_COLLECTION[language])
        return self.sentences(language, "everyday") + self.sentences(language, "heldout")


def words_of(answer: Any) -> list[tuple[str, float]]:
    """The words of a verbose_json and where they begin."""
    return [(word["word"], word["start"]) for word in answer["words"]]

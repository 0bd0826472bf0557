"""What a server makes of known sentences, asked once a session and judged by many tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server_kit.api import Api, in_flight
from speech_kit.espeak import Utterance
from speech_kit.sentences import spoken
from speech_kit.sounds import wav

TIMED: Mapping[str, Any] = {"response_format": "verbose_json", "timestamp_granularities": ["word", "segment"]}
"""Fields that ask for everything that has a time."""
N_SENTENCES: Mapping[str, int] = {"en": 64, "de": 48, "es": 48, "ru": 48}
"""The first so many of each collection; English has as many as fill ten minutes."""


@dataclass(frozen=True)
class Pair:
    """A sentence and the verbose_json that came back for it."""

    said: Utterance
    answer: Any


class Heard:
    """Sentences through a server, a language at a time, kept."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._kept: dict[str, list[Pair]] = {}

    def sentences(self, language: str) -> list[Pair]:
        """The first sentences of both collections; the server was not told their language."""
        if language not in self._kept:
            n = N_SENTENCES[language]
            utterances = [spoken(language, i) for i in range(n)] + [spoken(language, i, "heldout") for i in range(n)]
            answers = in_flight(lambda utterance: self._api.json(wav(utterance.samples), **TIMED), utterances)
            self._kept[language] = [Pair(*pair) for pair in zip(utterances, answers, strict=True)]
        return self._kept[language]


def words_of(answer: Any) -> list[tuple[str, float]]:
    """The words of a verbose_json and where they begin."""
    return [(word["word"], word["start"]) for word in answer["words"]]

"""What the clients send: speech of mixed length in four languages, and what a quiet endpoint makes of each clip.

Who sends it, and when, is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from speech_kit.recordings import join
from speech_kit.scores import word_errors
from speech_kit.sentences import LANGUAGES, spoken
from speech_kit.sounds import wav

LONG_SENTENCES = {"en": 12, "de": 14, "es": 18, "ru": 22}
"""So many everyday ones make 40 to 65 s, which is two or three windows."""
LONG_FROM = 10
HIGHEST_ERROR_RATE = 0.10
"""Over all clips; the demo model is small. What counts under load is that the text stays the same."""


@dataclass(frozen=True)
class Clip:
    """A file, and what is said in it."""

    name: str
    said: str
    audio: bytes
    response_format: Literal["json", "verbose_json"]
    is_long: bool


@cache
def clips() -> tuple[Clip, ...]:
    """In each language: two sentences, a recording of about 10 s, one of about a minute."""
    return tuple(_clips())


def _clips() -> Iterator[Clip]:
    for language in LANGUAGES:
        yield _clip(language, range(1), "json")
        yield _clip(language, range(1, 2), "verbose_json")
        yield _clip(language, range(2, 5), "verbose_json" if language == "de" else "json")
        yield _clip(language, range(8, 8 + LONG_SENTENCES[language]), "verbose_json" if language == "en" else "json")


def _clip(language: str, which: range, response_format: Literal["json", "verbose_json"]) -> Clip:
    recording = join([spoken(language, index) for index in which], pause_s=(0.4, 1.2), seed=which.start)
    name = f"{language} {which.start}-{which.stop - 1} {recording.duration_s:.0f} s {response_format}"
    return Clip(name, recording.text, wav(recording.samples), response_format, is_long=len(which) > LONG_FROM)


def ask_quietly(transcribe: Callable[[Clip], str], asked: Sequence[Clip]) -> Mapping[str, str]:
    """The text of each clip by its name, one after the other. Raises AssertionError where they are not what was said."""
    texts = {clip.name: transcribe(clip) for clip in asked}
    errors = word_errors([clip.said for clip in asked], list(texts.values()))
    if errors.rate > HIGHEST_ERROR_RATE:
        raise AssertionError(f"even undisturbed, {errors}: {texts}")
    return texts

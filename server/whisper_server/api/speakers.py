"""What a request says about speakers: its fields' rules, and references as data URLs. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from whisper_server.errors import BadRequest

MAX_KNOWN_SPEAKERS = 4
"""OpenAI's limit."""
MIN_REFERENCE_S = 2.0
MAX_REFERENCE_S = 10.0
MAX_SPEAKERS = 32
"""That a request may ask for."""
_DATA_URL = re.compile(r"data:[\w.+-]*/?[\w.+-]*(;[\w=\".+-]+)*;base64,", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Reference:
    """How a known speaker sounds: a file, not read yet."""

    name: str
    file: bytes


@dataclass(frozen=True)
class SpeakersSpec:
    """The speakers that a request asks for."""

    exact: int | None = None
    least: int = 1
    most: int | None = None
    references: tuple[Reference, ...] = ()


def speakers_spec(
    *, exact: int | None, least: int | None, most: int | None, names: Sequence[str], urls: Sequence[str]
) -> SpeakersSpec:
    """Raises BadRequest, which names the field."""
    if exact is not None and (least is not None or most is not None):
        raise BadRequest("num_speakers says the number; leave min_speakers and max_speakers out.", param="num_speakers")
    if least is not None and most is not None and least > most:
        raise BadRequest(f"min_speakers is {least}, above max_speakers, {most}.", param="min_speakers")
    if len(names) > MAX_KNOWN_SPEAKERS:
        raise BadRequest(
            f"known_speaker_names has {len(names)} names; give {MAX_KNOWN_SPEAKERS} at most.",
            param="known_speaker_names",
        )
    if len(set(names)) < len(names):
        raise BadRequest("known_speaker_names has a name twice; give each once.", param="known_speaker_names")
    if len(names) != len(urls):
        few = "known_speaker_references" if len(names) > len(urls) else "known_speaker_names"
        raise BadRequest(
            f"known_speaker_names has {len(names)} names, known_speaker_references {len(urls)} recordings; "
            "give one recording per name, in the same order.",
            param=few,
        )
    return SpeakersSpec(exact, least or 1, most, tuple(_references(names, urls)))


def _references(names: Sequence[str], urls: Sequence[str]) -> Iterator[Reference]:
    for name, url in zip(names, urls, strict=True):
        match = _DATA_URL.match(url)
        if match is None:
            raise _bad_reference(name, "is no data URL")
        try:
            yield Reference(name, base64.b64decode("".join(url[match.end() :].split()), validate=True))
        except binascii.Error:
            raise _bad_reference(name, "is not in base64") from None


def _bad_reference(name: str, problem: str) -> BadRequest:
    return BadRequest(
        f"known_speaker_references: the one of {name[:64]!a} {problem}; write data:audio/wav;base64,… of a recording of "
        f"{MIN_REFERENCE_S:g} to {MAX_REFERENCE_S:g} s.",
        param="known_speaker_references",
    )


def check_reference_length(name: str, duration_s: float) -> None:
    """Encoders pad to whole frames, so a tenth of a second is not counted. Raises BadRequest."""
    if not MIN_REFERENCE_S - 0.1 <= duration_s <= MAX_REFERENCE_S + 0.1:
        raise _bad_reference(name, f"lasts {duration_s:.1f} s")


def unreadable_reference(name: str, problem: str) -> BadRequest:
    """The refusal of a reference that the decoder refused."""
    return _bad_reference(name, f"cannot be read ({problem.rstrip('.')})")

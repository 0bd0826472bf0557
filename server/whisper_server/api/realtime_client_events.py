"""The events that a client sends in a transcription session: from JSON to frozen messages. Knows no transport."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from whisper_server.api.values import quoted
from whisper_server.errors import ApiError, BadRequest

MAX_EVENT_ID_CHARACTERS = 512
_N_HEAD, _N_UNDERSCORES = 64, 2
"""Characters that have `input_audio_buffer.append` in them, and its underscores."""
_BETA_EVENT = "transcription_session.update"


@dataclass(frozen=True)
class UpdateSession:
    """`session.update`; the configuration is checked where the present one is known."""

    session: object
    event_id: str | None = None


@dataclass(frozen=True)
class AppendAudio:
    """`input_audio_buffer.append`: raw sound in the session's format."""

    audio: bytes
    event_id: str | None = None


@dataclass(frozen=True)
class CommitAudio:
    """`input_audio_buffer.commit`: the turn ends here."""

    event_id: str | None = None


@dataclass(frozen=True)
class ClearAudio:
    """`input_audio_buffer.clear`: forget what was not committed."""

    event_id: str | None = None


ClientEvent = UpdateSession | AppendAudio | CommitAudio | ClearAudio
EVENT_TYPES = (
    "session.update",
    "input_audio_buffer.append",
    "input_audio_buffer.commit",
    "input_audio_buffer.clear",
)


class EventRefused(Exception):
    """A client's event that cannot be acted on; the session lives on."""

    def __init__(self, error: ApiError, event_id: str | None) -> None:
        super().__init__(error.message)
        self.error = error
        self.event_id = event_id


@with_config(ConfigDict(val_json_bytes="base64", extra="forbid"))
@dataclass(frozen=True)
class _Append:
    type: Literal["input_audio_buffer.append"]
    audio: bytes


_APPEND = TypeAdapter(_Append)


def parse_json(content: str | bytes) -> object:
    """What a client sends as JSON. Raises ValueError, which says why.

    Half of a surrogate pair is refused, which Python's parser takes: it cannot be sent back. NaN and infinity are refused by the
    fields, by name.
    """
    text = content.decode() if isinstance(content, bytes) else content
    try:
        value = json.loads(text)
        if "\\u" in text:  # else UTF-8 has refused it
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except UnicodeEncodeError:
        raise ValueError("a text holds half of a surrogate pair (\\ud800 to \\udfff)") from None
    return value


def parse_event(text: str) -> ClientEvent:
    """Raises EventRefused, which names the field."""
    if (audio := _appended(text)) is not None:
        return AppendAudio(audio)
    try:
        event = parse_json(text)
    except ValueError as problem:
        raise EventRefused(
            BadRequest(f"The event is not valid JSON: {problem}.", code="invalid_json"), event_id=None
        ) from None
    if not isinstance(event, Mapping):
        raise EventRefused(
            BadRequest('An event is a JSON object such as {"type": "input_audio_buffer.commit"}.', code="invalid_json"),
            event_id=None,
        )
    event_id = event.get("event_id")
    if event_id is not None and (not isinstance(event_id, str) or len(event_id) > MAX_EVENT_ID_CHARACTERS):
        raise EventRefused(
            BadRequest(f"event_id: send a text of at most {MAX_EVENT_ID_CHARACTERS} characters.", param="event_id"),
            event_id=None,
        )
    try:
        return _parsed(event, event_id)
    except ApiError as error:
        raise EventRefused(error, event_id) from None


def _appended(text: str) -> bytes | None:
    """The sound of an event with nothing else in it, ten of which come in a second; the standard library takes four times as long.

    None: another event, or base64 that pydantic may take and `_sound` does not: without its padding, or with the URL's alphabet.
    """
    if "\\" in text or "-" in text or text.rfind("_") >= _N_HEAD or text.count("_", 0, _N_HEAD) != _N_UNDERSCORES:
        return None
    try:
        audio = _APPEND.validate_json(text).audio
    except ValidationError:
        return None
    return audio if len(audio) % 3 == 0 or text.count("=") == -len(audio) % 3 else None


def _parsed(event: Mapping[str, Any], event_id: str | None) -> ClientEvent:
    kind = event.get("type")
    if kind == "session.update":
        if "session" not in event:
            raise BadRequest("session: field missing.", param="session")
        return UpdateSession(event["session"], event_id)
    if kind == "input_audio_buffer.append":
        return AppendAudio(_sound(event.get("audio")), event_id)
    if kind == "input_audio_buffer.commit":
        return CommitAudio(event_id)
    if kind == "input_audio_buffer.clear":
        return ClearAudio(event_id)
    if kind is None:
        raise BadRequest("type: field missing.", param="type")
    hint = " That is an event of the beta; send session.update." if kind == _BETA_EVENT else ""
    raise BadRequest(
        f"type: {quoted(str(kind))} is no event of a transcription session; these are: {', '.join(EVENT_TYPES)}.{hint}",
        param="type",
        code="invalid_value",
    )


def _sound(audio: object) -> bytes:
    if not isinstance(audio, str):
        raise BadRequest("audio: send the sound as a base64 text.", param="audio", code="invalid_value")
    try:
        return base64.b64decode(audio, validate=True)
    except (binascii.Error, ValueError) as problem:
        raise BadRequest(f"audio: not valid base64: {problem}.", param="audio", code="invalid_value") from None

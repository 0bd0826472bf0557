"""The events that the server sends in a transcription session, as frozen messages with their JSON. Knows no transport."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whisper_server.api.formats import language_objects, logprob_objects
from whisper_server.errors import ApiError
from whisper_server.whisper.transcript import TokenLogprob

Document = Mapping[str, Any]
_TRANSCRIPTION = "conversation.item.input_audio_transcription"


@dataclass(frozen=True)
class SessionChanged:
    """`session.created` and `session.updated`."""

    session: Document
    is_new: bool = False

    def document(self) -> dict[str, Any]:
        return {"type": "session.created" if self.is_new else "session.updated", "session": dict(self.session)}


@dataclass(frozen=True)
class SpeechBegan:
    """`input_audio_buffer.speech_started`."""

    item_id: str
    audio_start_ms: int

    def document(self) -> dict[str, Any]:
        return {
            "type": "input_audio_buffer.speech_started",
            "audio_start_ms": self.audio_start_ms,
            "item_id": self.item_id,
        }


@dataclass(frozen=True)
class SpeechEnded:
    """`input_audio_buffer.speech_stopped`."""

    item_id: str
    audio_end_ms: int

    def document(self) -> dict[str, Any]:
        return {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": self.audio_end_ms, "item_id": self.item_id}


@dataclass(frozen=True)
class Committed:
    """`input_audio_buffer.committed`."""

    item_id: str
    previous_item_id: str | None

    def document(self) -> dict[str, Any]:
        return {
            "type": "input_audio_buffer.committed",
            "previous_item_id": self.previous_item_id,
            "item_id": self.item_id,
        }


@dataclass(frozen=True)
class Cleared:
    """`input_audio_buffer.cleared`."""

    def document(self) -> dict[str, Any]:
        return {"type": "input_audio_buffer.cleared"}


@dataclass(frozen=True)
class ItemCreated:
    """`conversation.item.added` and `conversation.item.done`: a user's message of sound."""

    item_id: str
    previous_item_id: str | None
    is_done: bool = False

    def document(self) -> dict[str, Any]:
        return {
            "type": "conversation.item.done" if self.is_done else "conversation.item.added",
            "previous_item_id": self.previous_item_id,
            "item": {
                "id": self.item_id,
                "type": "message",
                "status": "completed",
                "role": "user",
                "content": [{"type": "input_audio", "transcript": None}],
            },
        }


@dataclass(frozen=True)
class TranscriptDelta:
    """`….delta`: text that is never withdrawn. All of an item's deltas, joined, are its transcript."""

    item_id: str
    delta: str
    logprobs: Sequence[TokenLogprob] | None = None

    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "type": f"{_TRANSCRIPTION}.delta",
            "item_id": self.item_id,
            "content_index": 0,
            "delta": self.delta,
        }
        return document if self.logprobs is None else document | {"logprobs": logprob_objects(self.logprobs)}


@dataclass(frozen=True)
class TranscriptCompleted:
    """`….completed`."""

    item_id: str
    transcript: str
    languages: Sequence[str]
    usage: Document
    logprobs: Sequence[TokenLogprob] | None = None

    def document(self) -> dict[str, Any]:
        document = {
            "type": f"{_TRANSCRIPTION}.completed",
            "item_id": self.item_id,
            "content_index": 0,
            "transcript": self.transcript,
            "languages": language_objects(self.languages),
            "usage": dict(self.usage),
        }
        return document if self.logprobs is None else document | {"logprobs": logprob_objects(self.logprobs)}


@dataclass(frozen=True)
class TranscriptFailed:
    """`….failed`: of one item; the session goes on."""

    item_id: str
    error: ApiError

    def document(self) -> dict[str, Any]:
        return {
            "type": f"{_TRANSCRIPTION}.failed",
            "item_id": self.item_id,
            "content_index": 0,
            "error": self.error.body()["error"],
        }


@dataclass(frozen=True)
class Failure:
    """`error`: of a client's event, or of the session."""

    error: ApiError
    client_event_id: str | None = None

    def document(self) -> dict[str, Any]:
        return {"type": "error", "error": self.error.body()["error"] | {"event_id": self.client_event_id}}


ServerEvent = (
    SessionChanged
    | SpeechBegan
    | SpeechEnded
    | Committed
    | Cleared
    | ItemCreated
    | TranscriptDelta
    | TranscriptCompleted
    | TranscriptFailed
    | Failure
)

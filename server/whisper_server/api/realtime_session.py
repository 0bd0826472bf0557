"""The configuration of a transcription session, as OpenAI's realtime API has it: fields, defaults, and updates of a part.

Types only, for parsing and for the OpenAPI document; `live` acts on them. Fields that belong to speech output, or to other
models' latency, are accepted and have no effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from whisper_server.api.field_types import Keyword, Language, LanguageChoice
from whisper_server.api.values import quoted
from whisper_server.errors import BadRequest

LOGPROBS = "item.input_audio_transcription.logprobs"
MAX_TURN_SILENCE_MS = 60_000


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)  # events are JSON, which has neither


class AudioPcm(_Part):
    """16 bits, little-endian, mono."""

    type: Literal["audio/pcm"]
    rate: Literal[24000] = 24000


class AudioPcmu(_Part):
    """G.711 μ-law, 8 kHz."""

    type: Literal["audio/pcmu"]


class AudioPcma(_Part):
    """G.711 A-law, 8 kHz."""

    type: Literal["audio/pcma"]


class NoiseReduction(_Part):
    """Accepted; Whisper was trained on noisy speech, and nothing is filtered."""

    type: Literal["near_field", "far_field"] | None = None
    strength: float | str | None = None


class ServerTurns(_Part):
    """A turn ends after a silence."""

    type: Literal["server_vad"] = "server_vad"
    threshold: float = Field(default=0.5, ge=0, le=1)
    prefix_padding_ms: int = Field(default=300, ge=0, le=5_000)
    silence_duration_ms: int = Field(default=500, ge=100, le=MAX_TURN_SILENCE_MS)
    create_response: bool | None = None
    interrupt_response: bool | None = None
    idle_timeout_ms: int | None = None


class SemanticTurns(_Part):
    """A turn ends after a silence that `eagerness` chooses."""

    type: Literal["semantic_vad"]
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool | None = None
    interrupt_response: bool | None = None


class Transcription(_Part):
    """What is known about the speech."""

    model: str | None = None
    language: Language = None
    languages: tuple[LanguageChoice, ...] = ()
    prompt: str = Field(default="", max_length=10_000)
    keywords: tuple[Keyword, ...] = Field(default=(), max_length=1_000)
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


Format = Annotated[AudioPcm | AudioPcmu | AudioPcma, Field(discriminator="type")]
TurnDetection = Annotated[ServerTurns | SemanticTurns, Field(discriminator="type")]


class AudioInput(_Part):
    """Of `audio.input`."""

    format: Format = AudioPcm(type="audio/pcm")
    transcription: Transcription = Transcription()
    noise_reduction: NoiseReduction | None = None
    turn_detection: TurnDetection | None = ServerTurns()


class Audio(_Part):
    """Of `audio`."""

    input: AudioInput = AudioInput()


class SessionConfig(_Part):
    """A whole configuration."""

    type: Literal["transcription"] = "transcription"
    audio: Audio = Audio()
    include: tuple[Literal["item.input_audio_transcription.logprobs"], ...] = ()

    @property
    def input(self) -> AudioInput:
        return self.audio.input

    def updated(self, session: object, place: str = "session") -> SessionConfig:
        """The configuration after an update, which leaves what it does not name as it is. Raises BadRequest."""
        if not isinstance(session, Mapping):
            raise BadRequest(f'{place}: send an object such as {{"type": "transcription"}}.', param=place)
        if session.get("type", "transcription") != "transcription":
            raise BadRequest(
                f"{place}.type: this server has transcription sessions only; send `transcription`.",
                param=f"{place}.type",
            )
        try:
            return SessionConfig.model_validate(_merged(self.model_dump(exclude_unset=True), session))
        except ValidationError as error:
            raise _as_bad_request(error, place) from None

    def document(self) -> dict[str, Any]:
        """As events have it."""
        document = self.model_dump(mode="json")
        audio_input = document["audio"]["input"]
        for part in ("transcription", "noise_reduction", "turn_detection"):
            if audio_input[part] is not None:
                audio_input[part] = {key: value for key, value in audio_input[part].items() if value is not None}
        return document


def _merged(
    before: Mapping[str, Any], update: Mapping[str, Any], merged_parts: tuple[str, ...] = ("audio", "input")
) -> dict[str, Any]:
    """`audio` and `audio.input` are merged; what is in `audio.input` is replaced, except the model's name.

    In there, null is the default: clients send it for what they were not given.
    """
    merged = dict(before) | dict(update)
    for key in merged_parts[:1]:
        if isinstance(update.get(key), Mapping):
            merged[key] = _merged(before.get(key, {}), update[key], merged_parts[1:])
    for key in ("transcription", "turn_detection", "noise_reduction"):
        if isinstance(part := update.get(key), Mapping):
            merged[key] = {name: value for name, value in part.items() if value is not None}
    model = before.get("transcription", {}).get("model") if isinstance(before.get("transcription"), Mapping) else None
    if model is not None and isinstance(update.get("transcription"), Mapping):
        merged["transcription"] = {"model": model} | merged["transcription"]
    return merged


def _as_bad_request(error: ValidationError, place: str) -> BadRequest:
    """Pydantic's first problem, by the path of its field."""
    problem = error.errors(include_url=False)[0]
    is_unknown = problem["type"] == "extra_forbidden"
    *parents, last = map(str, problem["loc"])
    # A union puts the name of its member into the path. A field that is unknown may have such a name.
    steps = [step for step in parents if not _is_member(step)] + [last] * (is_unknown or not _is_member(last))
    path = ".".join([place, *steps])
    if is_unknown:
        return BadRequest(f"Unknown parameter: '{path}'.", param=path, code="unknown_parameter")
    message = problem["msg"][:1].lower() + problem["msg"][1:]
    got = problem["input"]
    seen = f" (got {quoted(str(got))})" if isinstance(got, str | int | float) else ""
    return BadRequest(f"{path}: {message}{seen}.", param=path, code="invalid_value")


def _is_member(step: str) -> bool:
    return step in {"float", "str"} or "/" in step or step.endswith("_vad")

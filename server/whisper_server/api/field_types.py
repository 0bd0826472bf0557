"""The types of form fields whose text needs more than pydantic's own parsing: languages, flags, keywords, chunking."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError, from_json

from whisper_server.api.options import MAX_SPEAKER_NAME, keyword, speaker_name, spoken_language
from whisper_server.whisper.transcript import VoiceActivity

T = TypeVar("T")


def _language(value: str) -> str | None:
    return _checked(spoken_language, value, "language")


def _checked(check: Callable[[str], T], value: str, error_type: str) -> T:
    """`check` with its ValueError as pydantic's error, which would otherwise begin with "Value error"."""
    try:
        return check(value)
    except ValueError as error:
        raise PydanticCustomError(error_type, "{problem}", {"problem": str(error)}) from None


def _language_choice(value: str) -> str:
    code = _language(value)
    if code is None:
        raise PydanticCustomError(
            "language", "'auto' is not a language; leave the field out to choose among all of them"
        )
    return code


def _keyword(value: str) -> str:
    return _checked(keyword, value, "keyword")


def _flag(value: object) -> bool:
    """Accepts the values of OpenAI's clients and curl users only; pydantic itself would also accept "off" and "y"."""
    flag = {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower())
    if flag is None:
        raise PydanticCustomError("flag", "use true or false")
    return flag


def _chunking(value: object) -> object:
    """Either "auto" or the object: as JSON text, or already collected from chunking_strategy[…] fields."""
    if not isinstance(value, str):
        return value
    if value == "auto":
        return {"type": "server_vad"}
    try:
        parsed = from_json(value, allow_inf_nan=False)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise PydanticCustomError("chunking", 'use auto or a JSON object such as {"type": "server_vad"}')
    return parsed


class ServerVad(BaseModel):
    """Voice activity detection, tuned by hand."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    type: Literal["server_vad"]
    threshold: float = Field(
        default=VoiceActivity.threshold,
        ge=0,
        le=1,
        description="How sure it must be that somebody speaks.",
    )
    prefix_padding_ms: int = Field(
        default=VoiceActivity.prefix_padding_ms, ge=0, le=30_000, description="Sound kept before speech begins."
    )
    silence_duration_ms: int = Field(
        default=VoiceActivity.silence_duration_ms, ge=0, le=60_000, description="Silence after which speech has ended."
    )


Language = Annotated[str | None, AfterValidator(_language), WithJsonSchema({"type": "string", "examples": ["auto"]})]
LanguageChoice = Annotated[str, AfterValidator(_language_choice), WithJsonSchema({"type": "string"})]
Keyword = Annotated[
    str, AfterValidator(_keyword), WithJsonSchema({"type": "string", "minLength": 1, "pattern": "^[^<>\\r\\n]+$"})
]
SpeakerName = Annotated[
    str,
    AfterValidator(lambda value: _checked(speaker_name, value, "speaker")),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_SPEAKER_NAME, "pattern": "^[^<>\\r\\n]+$"}),
]
Flag = Annotated[bool, BeforeValidator(_flag)]
Chunking = Annotated[
    ServerVad | None,
    BeforeValidator(_chunking),
    # /docs fills in the empty value, so that trying the page out does not turn voice activity detection on.
    WithJsonSchema(
        {"anyOf": [{"type": "string", "enum": ["", "auto"]}, {"$ref": "#/components/schemas/ServerVad"}], "default": ""}
    ),
]

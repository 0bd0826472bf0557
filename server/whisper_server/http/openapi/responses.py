"""The bodies of all answers, as types for the OpenAPI document only.

`api.formats` and `sse` write these bodies; a test checks what they write against these types.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ErrorDetail(_Body):
    """What went wrong, in OpenAI's words."""

    message: str = Field(examples=["The model `whisper-9` is not served here; these are: whisper, whisper-1."])
    type: str = Field(examples=["invalid_request_error"])
    param: str | None = Field(description="The field that is wrong.", examples=["model"])
    code: str | None = Field(examples=["model_not_found"])


class ErrorBody(_Body):
    """The one shape of every error."""

    error: ErrorDetail


class InputTokenDetails(_Body):
    """Where the input tokens come from."""

    text_tokens: int = Field(ge=0, description="Of prompt and keywords.")
    audio_tokens: int = Field(ge=0, description="50 a second.")


class TokensUsage(_Body):
    """What was used, in tokens: json where a `gpt-…` model was asked for, and the end of a stream."""

    type: Literal["tokens"]
    input_tokens: int = Field(ge=0)
    input_token_details: InputTokenDetails
    output_tokens: int = Field(ge=0)
    total_tokens: int = Field(ge=0)


class DurationUsage(_Body):
    """What was used, in seconds of sound."""

    type: Literal["duration"]
    seconds: float = Field(ge=0)


Usage = Annotated[TokensUsage | DurationUsage, Field(discriminator="type")]


class TokenLogprob(_Body):
    """A token and how likely it was."""

    token: str
    bytes: list[int]
    logprob: float


class DetectedLanguage(_Body):
    """A language that was heard."""

    code: str = Field(examples=["en"])


class Transcription(_Body):
    """The answer with `response_format=json`."""

    text: str = Field(examples=["Hello from Kubernetes."])
    logprobs: list[TokenLogprob] | None = Field(default=None, description="With `include[]=logprobs`.")
    languages: list[DetectedLanguage] | None = None
    usage: Usage


class VerboseSegment(_Body):
    """A stretch of speech; times in seconds."""

    id: int = Field(ge=0)
    seek: int = Field(ge=0, description="Start of the window, in frames of 10 ms.")
    start: float = Field(ge=0)
    end: float = Field(ge=0)
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    speaker: str | None = Field(default=None, description="Only if the answer distinguishes speakers.")


class VerboseWord(_Body):
    """A word; times in seconds."""

    word: str
    start: float = Field(ge=0)
    end: float = Field(ge=0)
    speaker: str | None = Field(default=None, description="Only if the answer distinguishes speakers.")


class VerboseTranscription(_Body):
    """The answer with `response_format=verbose_json`."""

    task: Literal["transcribe", "translate"]
    language: str = Field(description="Full lower-case name.", examples=["english"])
    duration: float = Field(ge=0, description="Of the recording, in seconds.")
    text: str = Field(examples=["Hello from Kubernetes."])
    segments: list[VerboseSegment] | None = Field(default=None, description="With granularity `segment`.")
    words: list[VerboseWord] | None = Field(default=None, description="With granularity `word`.")
    usage: DurationUsage


class DiarizedSegment(_Body):
    """What one speaker says; an event of a stream, too."""

    type: Literal["transcript.text.segment"]
    id: str
    start: float = Field(ge=0)
    end: float = Field(ge=0)
    text: str
    speaker: str = Field(description="A known speaker's name, or a letter by first appearance.", examples=["A"])


class DiarizedTranscription(_Body):
    """The answer with `response_format=diarized_json`."""

    task: Literal["transcribe"]
    duration: float = Field(ge=0, description="Of the recording, in seconds.")
    text: str
    segments: list[DiarizedSegment]
    usage: DurationUsage | TokensUsage


class DeltaEvent(_Body):
    """The text of one more window; never taken back."""

    type: Literal["transcript.text.delta"]
    speaker: str | None = Field(default=None, description="With `multichannel`.")
    delta: str
    logprobs: list[TokenLogprob] | None = None


class DoneEvent(_Body):
    """The end: all deltas joined."""

    type: Literal["transcript.text.done"]
    text: str
    logprobs: list[TokenLogprob] | None = None
    languages: list[DetectedLanguage] | None = None
    usage: TokensUsage


class ModelObject(_Body):
    """A model name that requests may use."""

    id: str = Field(examples=["whisper-1"])
    object: Literal["model"]
    created: int = Field(ge=0, description="Unix time.")
    owned_by: str


class ModelList(_Body):
    """All model names."""

    object: Literal["list"]
    data: list[ModelObject]


class Health(_Body):
    """The server is healthy."""

    status: Literal["ok"]


class Readiness(Health):
    """The server takes requests; a long queue does not change that."""

    queue_wait_seconds: float = Field(ge=0, description="Wait that a new client's clip must expect.")
    decode_wait_seconds: float = Field(ge=0, description="The part of it before its file is decoded.")


BODIES: tuple[type[BaseModel], ...] = (
    ErrorBody,
    Transcription,
    VerboseTranscription,
    DiarizedTranscription,
    DiarizedSegment,
    DeltaEvent,
    DoneEvent,
    ModelList,
    ModelObject,
    Health,
    Readiness,
)
"""All types that the document names."""

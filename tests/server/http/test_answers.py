"""What the server writes is what the OpenAPI document says: each body against its schema there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator

from whisper_server.api.formats import format_transcript, tokens_usage, usage_of
from whisper_server.api.options import Granularity, ResponseFormat
from whisper_server.api.served_models import model_object
from whisper_server.errors import ApiError, BadRequest, InternalError, InvalidApiKey, Overloaded
from whisper_server.http.openapi import DocumentFacts, openapi_document
from whisper_server.http.sse import delta_event, done_event
from whisper_server.whisper.transcript import (
    Segment,
    ServedModel,
    Task,
    TokenLogprob,
    Transcript,
    WindowTranscript,
    Word,
)

DOCUMENT = openapi_document(DocumentFacts(version="1", model_names=("whisper",)))
WORDS = (Word("Hello", 0.0, 0.4, 0.9), Word(" there.", 0.4, 0.9, 0.8))
SEGMENT = Segment(0, 0, 0.0, 1.0, " Hello there.", (50364, 2425, 456, 13, 50414), 0.0, -0.2, 1.1, 0.01, WORDS)
LOGPROBS = (TokenLogprob(" Hello", tuple(b" Hello"), -0.1), TokenLogprob(" there.", tuple(b" there."), -0.2))
HEARD = Transcript(Task.TRANSCRIBE, ("en",), 1.04, "Hello there.", (SEGMENT,), LOGPROBS, 3, 52, 4)
SILENCE = Transcript(Task.TRANSLATE, ("ht",), 0.1, "")


def problems(schema: str, body: object) -> list[str]:
    """What the body breaks of a schema of the document."""
    root = {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]}
    return [error.message for error in OAS31Validator(root).iter_errors(json.loads(json.dumps(body)))]


@pytest.mark.parametrize("transcript", [HEARD, SILENCE, replace(HEARD, logprobs=())])
@pytest.mark.parametrize("model", ["whisper-1", "gpt-4o-transcribe"])
@pytest.mark.parametrize(
    "granularities", [(Granularity.SEGMENT,), (Granularity.WORD,), (Granularity.WORD, Granularity.SEGMENT)]
)
@pytest.mark.parametrize("format_", list(ResponseFormat))
def test_transcripts(
    transcript: Transcript, model: str, granularities: tuple[Granularity, ...], format_: ResponseFormat
) -> None:
    usage = usage_of(transcript, model, format_)
    body, content_type = format_transcript(transcript, format_, granularities, usage)
    documented = DOCUMENT["paths"]["/v1/audio/transcriptions"]["post"]["responses"]["200"]["content"]
    assert content_type.split(";")[0] in documented
    schema = {ResponseFormat.JSON: "Transcription", ResponseFormat.VERBOSE_JSON: "VerboseTranscription"}.get(format_)
    if schema is not None:
        assert problems(schema, json.loads(body)) == []
        assert problems("ErrorBody", json.loads(body)), "the schemas accept everything"


def test_events() -> None:
    window = WindowTranscript("Hello there.", (SEGMENT,), LOGPROBS, 4)
    for logprobs in (False, True):
        assert problems("DeltaEvent", delta_event(window, logprobs=logprobs)) == []
        done = done_event("Hello there.", ["en"], tokens_usage(HEARD), LOGPROBS if logprobs else None)
        assert problems("DoneEvent", done) == []
        assert problems("DeltaEvent", done), "the schemas accept everything"


def test_models() -> None:
    model: Mapping[str, Any] = model_object(ServedModel("whisper", 1_700_000_000))
    assert problems("ModelObject", model) == []
    assert problems("ModelList", {"object": "list", "data": [model]}) == []


@pytest.mark.parametrize(
    "error",
    [
        BadRequest("x", param="file"),
        InvalidApiKey("x"),
        Overloaded("x", retry_after_s=3),
        InternalError("x"),
    ],
)
def test_errors(error: ApiError) -> None:
    assert problems("ErrorBody", error.body()) == []
    assert str(error.status) in DOCUMENT["paths"]["/v1/audio/transcriptions"]["post"]["responses"]

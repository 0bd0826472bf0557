"""The OpenAPI document: valid, true to the parser, true to what the server writes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, get_args, get_type_hints

import pytest
from openai.types.audio import (
    transcription_create_params as openai_transcription,
)
from openai.types.audio import (
    translation_create_params as openai_translation,
)
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from whisper_server.api.fields import TranscriptionFields
from whisper_server.api.ignored_fields import IGNORED_FIELDS, refused_fields
from whisper_server.api.values import FORM_OF_TASK, parse_name, parse_values
from whisper_server.errors import BadRequest
from whisper_server.http.openapi import DocumentFacts, openapi_document
from whisper_server.whisper.transcript import Task

FACTS = DocumentFacts(version="1.2.3", model_names=("whisper", "acme/whisper-large"))
PATH_OF_TASK = {Task.TRANSCRIBE: "/v1/audio/transcriptions", Task.TRANSLATE: "/v1/audio/translations"}


def form_of(task: Task) -> dict[str, Any]:
    document = openapi_document(FACTS)
    content = document["paths"][PATH_OF_TASK[task]]["post"]["requestBody"]["content"]
    reference: str = content["multipart/form-data"]["schema"]["$ref"]
    schema: dict[str, Any] = document["components"]["schemas"][reference.rpartition("/")[2]]
    return schema


@pytest.mark.parametrize(
    "facts",
    [
        FACTS,
        replace(FACTS, root_path="/speech/v2", needs_key=True),
        replace(FACTS, model_names=(), shows_metrics=False, max_upload_bytes=1),
    ],
)
def test_the_document_is_valid(facts: DocumentFacts) -> None:
    document = openapi_document(facts)
    validate(json.loads(json.dumps(document)), cls=OpenAPIV31SpecValidator)


def test_every_reference_resolves_and_every_schema_is_used() -> None:
    document = openapi_document(FACTS)
    named = set(document["components"]["schemas"])
    text = json.dumps(document)
    used = {piece.split('"')[0] for piece in text.split("#/components/schemas/")[1:]}
    assert used == named


def test_document_has_the_prefix_and_the_key() -> None:
    document = openapi_document(replace(FACTS, root_path="/speech", needs_key=True))
    assert document["servers"] == [{"url": "/speech"}]
    assert document["paths"]["/v1/models"]["get"]["security"] == [{"bearer": []}, {"api-key": []}, {"x-api-key": []}]
    assert "security" not in document["paths"]["/health"]["get"]
    assert "security" not in openapi_document(FACTS)["paths"]["/v1/models"]["get"]


def test_document_leaves_out_metrics_with_their_own_port() -> None:
    assert "/metrics" in openapi_document(FACTS)["paths"]
    assert "/metrics" not in openapi_document(replace(FACTS, shows_metrics=False))["paths"]


@pytest.mark.parametrize("task", list(Task))
def test_form_and_parser_know_the_same_fields(task: Task) -> None:
    for name in set(form_of(task)["properties"]) - {"file"}:
        assert parse_name(name, task).base == name.removesuffix("[]")
    assert not IGNORED_FIELDS & set(FORM_OF_TASK[task].model_fields)
    assert not IGNORED_FIELDS & set(refused_fields(task))
    assert not set(refused_fields(task)) & set(FORM_OF_TASK[task].model_fields)


@pytest.mark.parametrize(
    ("task", "params"),
    [
        (Task.TRANSCRIBE, openai_transcription.TranscriptionCreateParamsNonStreaming),
        (Task.TRANSCRIBE, openai_transcription.TranscriptionCreateParamsStreaming),
        (Task.TRANSLATE, openai_translation.TranslationCreateParams),
    ],
)
def test_every_parameter_of_the_openai_package_is_known(task: Task, params: type) -> None:
    names = set(get_type_hints(params)) - {"file"}
    assert {"model", "prompt", "response_format", "temperature"} <= names
    for name in names:
        assert name in FORM_OF_TASK[task].model_fields or name in refused_fields(task)


def test_formats_are_openais_and_rttm() -> None:
    offered = set(openapi_document(FACTS)["components"]["schemas"]["ResponseFormat"]["enum"])
    openais = get_args(get_type_hints(openai_transcription.TranscriptionCreateParamsStreaming)["response_format"])
    assert offered == set(openais) | {"rttm"}


def test_the_documents_examples_and_defaults_parse() -> None:
    properties = form_of(Task.TRANSCRIBE)["properties"]
    shown = [
        (name, value)
        for name, schema in properties.items()
        for value in [*schema.get("examples", []), schema.get("default")]
        if value not in (None, "", [])
    ]
    pairs = [(parse_name(name, Task.TRANSCRIBE), str(value)) for name, value in shown]
    assert len(pairs) >= 4
    fields = parse_values(pairs, Task.TRANSCRIBE).fields
    # /docs fills them in: a user that only picks a file there gets the same as with a bare request.
    assert fields == TranscriptionFields(model="whisper", temperature=0)


def test_the_form_offers_the_served_names() -> None:
    assert form_of(Task.TRANSCRIBE)["properties"]["model"]["enum"] == ["whisper", "acme/whisper-large"]
    assert form_of(Task.TRANSLATE)["required"] == ["file", "model"]


def test_no_field_can_be_null() -> None:
    """A form cannot send null; pydantic's schemas speak of it."""
    for task in Task:
        assert "null" not in json.dumps(form_of(task))


def test_unknown_field_is_refused_with_the_known_fields() -> None:
    with pytest.raises(BadRequest) as refusal:
        parse_name("fromat", Task.TRANSCRIBE)
    for name in form_of(Task.TRANSCRIBE)["properties"]:
        assert name.removesuffix("[]") in refusal.value.message

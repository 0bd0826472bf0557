"""The OpenAPI 3.1 document of all routes, built from the types that parse forms and describe answers.

It has every status and content type of the server; a fuzzer (tests/api/test_openapi_conformance.py) checks that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from whisper_server.api.fields import FormFields, TranscriptionFields, TranslationFields, list_names
from whisper_server.errors import (
    ApiError,
    InternalError,
    InvalidApiKey,
    InvalidAudio,
    ModelNotFound,
    Overloaded,
    RoutingError,
    Unavailable,
    UnsupportedEncoding,
    UploadTimeout,
    UploadTooLarge,
)
from whisper_server.http.keys import KEY_HEADERS
from whisper_server.http.openapi.schemas import REF, DocumentFacts, Json, schemas

_AUDIO, _MODELS, _SERVICE = "audio", "models", "service"

_ERRORS: Mapping[int, tuple[str, ApiError]] = {
    400: ("The request is wrong; `param` names the field.", InvalidAudio("The file is no audio that is known here.")),
    401: ("No API key, or an unknown one.", InvalidApiKey("Incorrect API key provided.")),
    404: ("No such model, or no such address.", ModelNotFound("The model `x` is not served here.", param="model")),
    405: ("Not with this method.", RoutingError("Method not allowed (GET /v1/audio/transcriptions)", status=405)),
    408: ("The body did not arrive in time (UPLOAD_TIMEOUT_SECONDS).", UploadTimeout("The body did not arrive.")),
    413: (
        "The body is larger than MAX_UPLOAD_BYTES, or takes too long.",
        UploadTooLarge("The body is too large.", param="file"),
    ),
    415: ("The body has a Content-Encoding.", UnsupportedEncoding("Content-Encoding 'gzip' is not supported.")),
    417: ("An `Expect` header other than `100-continue`.", RoutingError("Expectation Failed", status=417)),
    429: (
        "Too much is waiting, no memory is left, or the client is over a quota.",
        Overloaded("Try again soon.", retry_after_s=5),
    ),
    500: ("A fault of the server; its log has more under the same `x-request-id`.", InternalError("A fault.")),
    503: ("The model is being loaded, the engine is dead, or the server is shutting down.", Unavailable("Not ready.")),
}
_ALWAYS = (400, 404, 405, 417, 500)
_WITH_KEY = (*_ALWAYS, 401)
_WITH_BODY = (*_WITH_KEY, 408, 413, 415, 429, 503)

_SRT = "1\n00:00:00,000 --> 00:00:01,840\nHello from Kubernetes.\n\n"
_VTT = "WEBVTT\n\n00:00:00.000 --> 00:00:01.840\nHello from Kubernetes.\n\n"
_EVENTS = (
    'data: {"type":"transcript.text.delta","delta":"Hello from Kubernetes."}\n\n'
    'data: {"type":"transcript.text.done","text":"Hello from Kubernetes.","usage":{"type":"tokens","input_tokens":92,'
    '"input_token_details":{"text_tokens":0,"audio_tokens":92},"output_tokens":5,"total_tokens":97}}\n\n'
)


def openapi_document(facts: DocumentFacts) -> Json:
    """The document, ready to be written as JSON."""
    document: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "Whisper server",
            "version": facts.version,
            "summary": "Speech to text with OpenAI's audio API.",
            "description": (
                "Point any OpenAI client at `…/v1`. Every answer carries `x-request-id`; every error has one shape. "
                "`GET /v1/realtime?intent=transcription` is a WebSocket, which this document cannot describe: docs/realtime.md "
                "does, and `POST /v1/realtime/client_secrets` for browsers."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": facts.root_path or "/"}],
        "tags": [
            {"name": _AUDIO, "description": "Speech to text."},
            {"name": _MODELS, "description": "The names that `model` may have."},
            {"name": _SERVICE, "description": "For probes, monitoring and people; never needs a key."},
        ],
        "paths": _paths(facts),
        "components": {"schemas": schemas(facts)},
    }
    if facts.needs_key:
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            **{name: {"type": "apiKey", "in": "header", "name": name} for name in KEY_HEADERS},
        }
        for path in document["paths"]:
            for operation in document["paths"][path].values():
                if operation["tags"] != [_SERVICE]:
                    operation["security"] = [{scheme: []} for scheme in ("bearer", *KEY_HEADERS)]
    return document


def _paths(facts: DocumentFacts) -> Json:
    paths: Json = {
        "/v1/audio/transcriptions": {
            "post": _audio_operation(
                "createTranscription",
                "Transcribe a recording",
                "Text in the language that is spoken.",
                TranscriptionFields,
            )
        },
        "/v1/audio/translations": {
            "post": _audio_operation(
                "createTranslation",
                "Translate a recording to English",
                "English text, whatever language is spoken. The model must be a multilingual one.",
                TranslationFields,
            )
        },
        "/v1/models": {
            "get": _operation("listModels", "The models served here", _MODELS, _json("ModelList"), _WITH_KEY)
        },
        "/v1/models/{model}": {
            "get": _operation("retrieveModel", "One model", _MODELS, _json("ModelObject"), _WITH_KEY)
            | {
                "parameters": [
                    {
                        "name": "model",
                        "in": "path",
                        "required": True,
                        "description": "May contain slashes.",
                        "schema": {"type": "string", "minLength": 1},
                        "example": facts.model_names[0] if facts.model_names else "whisper",
                    }
                ]
            }
        },
        "/health": {
            "get": _operation("health", "Whether the server is alive", _SERVICE, _json("Health"), (*_ALWAYS, 503))
        },
        "/ready": {
            "get": _operation(
                "ready",
                "Whether requests should be sent here, and why not",
                _SERVICE,
                _json("Readiness"),
                (*_ALWAYS, 503),
            )
        },
        "/metrics": {
            "get": _operation(
                "metrics",
                "Figures for Prometheus",
                _SERVICE,
                {
                    "text/plain": {"schema": {"type": "string"}},
                    "application/openmetrics-text": {"schema": {"type": "string"}},
                },
                _ALWAYS,
            )
        },
        "/openapi.json": {
            "get": _operation(
                "openapi", "This document", _SERVICE, {"application/json": {"schema": {"type": "object"}}}, _ALWAYS
            )
        },
        "/docs": {
            "get": _operation("docs", "This page", _SERVICE, {"text/html": {"schema": {"type": "string"}}}, _ALWAYS)
        },
    }
    if not facts.shows_metrics:
        del paths["/metrics"]
    return paths


def _audio_operation(operation_id: str, summary: str, description: str, form: type[FormFields]) -> Json:
    transcript = {
        "anyOf": [
            {"$ref": REF.format(model=name)}
            for name in ("Transcription", "VerboseTranscription", "DiarizedTranscription")
        ]
    }
    text = {"schema": {"type": "string"}}
    content = {
        "application/json": {"schema": transcript},
        "text/plain": text | {"example": "Hello from Kubernetes.\n"},
        "application/x-subrip": text | {"example": _SRT},
        "text/vtt": text | {"example": _VTT},
        "text/event-stream": {"schema": _EVENT, "example": _EVENTS},
    }
    body = {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"$ref": REF.format(model=form.__name__)},
                # Else Swagger UI sends a list as one field with commas.
                "encoding": {name: {"style": "form", "explode": True} for name in list_names(form)},
            }
        },
    }
    return _operation(operation_id, summary, _AUDIO, content, _WITH_BODY) | {
        "description": description,
        "requestBody": body,
    }


def _json(model: str) -> Json:
    return {"application/json": {"schema": {"$ref": REF.format(model=model)}}}


def _operation(operation_id: str, summary: str, tag: str, content: Json, errors: Sequence[int]) -> Json:
    responses: Json = {"200": {"description": "Done.", "content": content, "headers": _REQUEST_ID}}
    for status in sorted(errors):
        headers = _REQUEST_ID | (_RETRY_AFTER if status in (429, 503) else {})
        description, example = _ERRORS[status]
        content = {"application/json": {"schema": {"$ref": REF.format(model="ErrorBody")}, "example": example.body()}}
        responses[str(status)] = {"description": description, "content": content, "headers": headers}
    return {"operationId": operation_id, "summary": summary, "tags": [tag], "responses": responses}


_EVENT: Json = {
    "type": "object",
    "description": "One server-sent event: a DeltaEvent for each window (with diarized_json, a DiarizedSegment for each segment), at last a DoneEvent or an error.",
    "required": ["data"],
    "properties": {
        "event": {"type": "string", "const": "message"},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {
                "anyOf": [
                    {"$ref": REF.format(model=name)}
                    for name in ("DeltaEvent", "DiarizedSegment", "DoneEvent", "ErrorBody")
                ]
            },
        },
    },
}
_REQUEST_ID: Json = {
    "x-request-id": {"description": "Names this request in the server's log.", "schema": {"type": "string"}}
}
_RETRY_AFTER: Json = {
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1, "maximum": 60}}
}

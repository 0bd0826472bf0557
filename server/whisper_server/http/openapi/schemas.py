"""The schemas of the OpenAPI document: the forms and the bodies of answers. `document` assigns them to routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic.json_schema import models_json_schema

from whisper_server.api.field_types import ServerVad
from whisper_server.api.fields import FILE_FIELD, FormFields, TranscriptionFields, TranslationFields
from whisper_server.http.openapi.responses import BODIES

Json = dict[str, Any]
REF = "#/components/schemas/{model}"


@dataclass(frozen=True)
class DocumentFacts:
    """What of the document depends on how the server is run."""

    version: str
    model_names: Sequence[str]
    root_path: str = ""
    needs_key: bool = False
    shows_metrics: bool = True
    """`/metrics` is on the same port as the rest."""
    max_upload_bytes: int = 26_214_400


def schemas(facts: DocumentFacts) -> Json:
    """All named schemas."""
    forms = (TranscriptionFields, TranslationFields)
    answers = models_json_schema([(body, "serialization") for body in BODIES], ref_template=REF)[1]["$defs"]
    asked = models_json_schema([(form, "validation") for form in (*forms, ServerVad)], ref_template=REF)[1]["$defs"]
    for form in forms:
        _complete_form(asked[form.__name__], form, facts)
    plain: Json = _without_null_defaults({**answers, **asked})
    return dict(sorted(plain.items()))


def _complete_form(schema: Json, form: type[FormFields], facts: DocumentFacts) -> None:
    """Add what the types do not know: the file, and the names that are served here."""
    file = {
        "type": "string",
        "format": "binary",
        "minLength": 1,
        "description": f"{FILE_FIELD['description']} At most {facts.max_upload_bytes} bytes with all other fields.",
    }
    model = schema["properties"]["model"]
    model["enum"] = list(facts.model_names)
    model["examples"] = list(facts.model_names[:1])
    schema["properties"] = {FILE_FIELD["name"]: file, **schema["properties"]}
    schema["required"] = [FILE_FIELD["name"], *schema["required"]]
    schema["title"] = form.__name__


def _without_null_defaults(schema: Any) -> Any:
    """A form field is there or not; `null`, which Python's types speak of, cannot be sent."""
    if isinstance(schema, list):
        return [_without_null_defaults(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _without_null_defaults(value) for key, value in schema.items()}
    if "default" in plain and plain["default"] is None:
        del plain["default"]
        choices = [choice for choice in plain.get("anyOf", []) if choice != {"type": "null"}]
        if len(choices) == 1:
            del plain["anyOf"]
            plain = {**choices[0], **plain}
    return plain

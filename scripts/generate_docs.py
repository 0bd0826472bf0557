#!/usr/bin/env python
"""Writes what pages take from the code: the tables in docs/settings.md and docs/operator.md, and docs/api-reference.md.

    scripts/generate_docs.py            writes what is not up to date
    scripts/generate_docs.py --check    writes nothing; exit code 1 names what is not up to date

The sources are the two `Settings` classes and the server's own OpenAPI document.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import whisper_operator.settings
import whisper_server.settings
from whisper_server import __version__
from whisper_server.api.served_models import DEFAULT_NAMES, DIARIZING_NAMES
from whisper_server.http.openapi import DocumentFacts, openapi_document

ROOT = Path(__file__).resolve().parents[1]
SETTINGS_PAGES: Mapping[str, type[Any]] = {
    "docs/settings.md": whisper_server.settings.Settings,
    "docs/operator.md": whisper_operator.settings.Settings,
}
REFERENCE_PAGE = "docs/api-reference.md"
SETTINGS_PART = re.compile(r"(<!-- settings: by scripts/generate_docs\.py -->\n).*?(<!-- end -->)", re.DOTALL)

Schema = Mapping[str, Any]

INTRODUCTION = f"""\
# API reference

<!-- Written by scripts/generate_docs.py from the server's OpenAPI document. -->

Version {__version__}, as a server with default settings describes itself. A running server has the same as a page to try it
on, at `/docs`, and as a document for programs, at `/openapi.json`. [api.md](api.md) says where it differs from OpenAI's API.

Every answer has the header `x-request-id`, which names the request in the server's log. Every error has one shape,
[ErrorBody](#errorbody); [troubleshooting.md](troubleshooting.md#http-statuses) says what to do about each.
"""


def settings_table(settings: type[Any]) -> str:
    """A row for each variable. The operator's `defaults` are a file and have no variable of their own."""
    rows = []
    for field in dataclasses.fields(settings):
        if field.name == "defaults":
            continue
        default = field.metadata["default"]
        shown = "–" if default is None else f"`{default}`" if default else "empty"
        rows.append((f"`{field.name.upper()}`", shown, field.metadata["help"]))
    return table(("variable", "default", "meaning"), rows)


def settings_page(path: str, settings: type[Any]) -> str:
    """The page with a new table; everything around it is written by hand."""
    old = (ROOT / path).read_text()
    if len(SETTINGS_PART.findall(old)) != 1:
        raise SystemExit(f"{path} must have one place for the table")
    return SETTINGS_PART.sub(lambda found: f"{found[1]}\n{settings_table(settings)}\n\n{found[2]}", old)


def reference_page() -> str:
    document = openapi_document(DocumentFacts(version=__version__, model_names=(*DEFAULT_NAMES, *DIARIZING_NAMES)))
    schemas: Mapping[str, Schema] = document["components"]["schemas"]
    operations = [
        operation_text(method, path, operation, schemas)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    shapes = [shape_text(name, schema) for name, schema in schemas.items() if not name.endswith("Fields")]
    return "\n".join((INTRODUCTION, "## Routes\n", *operations, "## Shapes\n", *shapes)).rstrip() + "\n"


def operation_text(method: str, path: str, operation: Schema, schemas: Mapping[str, Schema]) -> str:
    parts = [
        f"### {method.upper()} {path}\n",
        f"{operation['summary'].rstrip('.?')}. {operation.get('description', '')}".strip() + "\n",
    ]
    if "parameters" in operation:
        rows = ((f"`{one['name']}`", one["in"], one.get("description", "")) for one in operation["parameters"])
        parts.append(table(("parameter", "in", "meaning"), rows) + "\n")
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        fields = schemas[content["schema"]["$ref"].rpartition("/")[2]]
        parts.append(f"The body is `{media_type}`:\n\n{table(FIELD_HEADS, field_rows(fields))}\n")
    parts.append(table(("status", "content type", "body", "when"), answer_rows(operation["responses"])) + "\n")
    return "\n".join(parts)


FIELD_HEADS = ("field", "type", "default", "meaning")


def field_rows(schema: Schema) -> Iterator[tuple[str, ...]]:
    required = schema.get("required", ())
    for name, field in schema["properties"].items():
        default = "**required**" if name in required else default_text(field.get("default"))
        yield f"`{name}`", type_text(field), default, field.get("description", "")


def answer_rows(responses: Mapping[str, Schema]) -> Iterator[tuple[str, ...]]:
    for status, response in responses.items():
        for media_type, content in response["content"].items():
            yield status, f"`{media_type}`", type_text(content["schema"]), response["description"]


def shape_text(name: str, schema: Schema) -> str:
    head = f"### {name}\n\n{schema.get('description', '')}\n"
    if "enum" in schema:
        return f"{head}\nOne of {', '.join(f'`{word}`' for word in schema['enum'])}.\n"
    required = schema.get("required", ())
    rows = (
        (f"`{key}`", type_text(field), "yes" if key in required else "no", field.get("description", ""))
        for key, field in schema["properties"].items()
    )
    return f"{head}\n{table(('field', 'type', 'always there', 'meaning'), rows)}\n"


def type_text(schema: Schema) -> str:
    """A JSON schema in a few words, with links to the shapes below."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(type_text(one) for one in choices)
    if words := [schema["const"]] if "const" in schema else [word for word in schema.get("enum", ()) if word]:
        return ", ".join(f"`{word}`" for word in words)
    if "contentSchema" in schema.get("properties", {}).get("data", {}):
        return "events: " + type_text(schema["properties"]["data"]["contentSchema"])
    if schema["type"] == "array":
        return f"list of {type_text(schema['items'])}"
    return "file" if schema.get("format") == "binary" else str(schema["type"]) + limits_text(schema)


def limits_text(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if high is not None:
        return f", {low} to {high}"
    return f", {low} or more" if low is not None else ""


def default_text(value: Any) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if value else "–"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = tuple(heads)
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in (heads, *rows)]
    return "\n".join((lines[0], "|" + "---|" * len(heads), *lines[1:]))


def main(arguments: list[str]) -> int:
    texts = {path: settings_page(path, settings) for path, settings in SETTINGS_PAGES.items()}
    texts[REFERENCE_PAGE] = reference_page()
    stale = [path for path, text in texts.items() if not (ROOT / path).exists() or (ROOT / path).read_text() != text]
    for path in stale:
        if "--check" in arguments:
            print(f"{path} is not what the code says: run scripts/generate_docs.py")
        else:
            (ROOT / path).write_text(texts[path])
            print(f"wrote {path}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

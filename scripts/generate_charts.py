#!/usr/bin/env python
"""Writes what is made from the charts' values.yaml: values.schema.json, and the table of values in README.md.

    scripts/generate_charts.py            writes what is not up to date
    scripts/generate_charts.py --check    writes nothing; exit code 1 names what is not up to date

The comment above a value is its description. `# @type NAME` says what it may be where its default does not (TYPES),
`# @schema {…}` adds keywords of JSON Schema. A mapping without @type is a section: nothing else may be in it.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "operator"))

from whisper_operator.resource.fields import LABEL_KEY, LABEL_VALUE  # noqa: E402

CHARTS = ("whisper-operator", "whisper-endpoints")
EMBEDDED = ROOT / "operator/whisper_operator/resource/embedded.json"
CRD = ROOT / "charts/whisper-operator/files/whisperendpoints.yaml"
README_PART = re.compile(r"(?<=<!-- values: by scripts/generate_charts.py -->\n).*?(?=<!-- end -->)", re.DOTALL)

Schema = dict[str, Any]

_KEYED: Schema = {"type": "object", "propertyNames": dict(LABEL_KEY)}
TYPES: Mapping[str, Schema] = {
    "labels": {**_KEYED, "additionalProperties": {"type": "string", **LABEL_VALUE}},
    "map": {"type": "object", "additionalProperties": {"type": "string"}},
    "annotations": {**_KEYED, "additionalProperties": {"type": "string"}},
    "number": {"type": "number"},
    "integer or null": {"type": ["integer", "null"]},
    "string": {"type": "string"},
    "object": {"type": "object"},
    "PodSecurityContext": {"type": "object"},
    "SecurityContext": {"type": "object"},
    "endpoints": {"type": "object", "additionalProperties": {"$ref": "#/definitions/Endpoint"}},
}
KUBERNETES = (
    "Affinity",
    "EnvVar",
    "NetworkPolicyPeer",
    "ResourceRequirements",
    "Toleration",
    "TopologySpreadConstraint",
)
SCALARS: Mapping[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}
FROM_HELM: Mapping[str, Schema] = {
    "global": {"type": "object", "description": "Values that a parent chart shares; not read here."},
    "enabled": {"type": "boolean", "description": "For the condition of a parent chart; not read here."},
}


@dataclasses.dataclass(frozen=True)
class Value:
    """A value, or a section of them."""

    path: tuple[str, ...]
    default: Any
    text: str
    type_name: str
    limits: Schema

    @property
    def is_section(self) -> bool:
        return isinstance(self.default, dict) and not self.type_name


def read_values(text: str) -> Iterator[Value]:
    """All values in the order of the file, sections before what is in them."""
    document = yaml.safe_load(text)
    path: list[str] = []
    comment: list[str] = []
    typed: tuple[str, ...] = ()
    for line in text.splitlines():
        found = re.match(r"^( *)([A-Za-z]\w*):", line)
        if line.lstrip().startswith("#"):
            comment.append(line.strip()[1:].strip())
        elif found:
            path = [*path[: len(found[1]) // 2], found[2]]
            if not typed or tuple(path[: len(typed)]) != typed:
                value = _value(tuple(path), document, comment)
                typed = value.path if value.type_name else ()
                yield value
            comment = []
        else:
            comment = []


def _value(path: tuple[str, ...], document: Any, comment: list[str]) -> Value:
    default = document
    for name in path:
        default = default[name]
    tags = {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in comment if line.startswith("@")}
    text = " ".join(line for line in comment if not line.startswith("@"))
    value = Value(path, default, text, tags.get("@type", ""), json.loads(tags.get("@schema", "{}")))
    if not text and not value.is_section:
        raise SystemExit(f"{'.'.join(path)} has no description")
    return value


def schema_of(values: list[Value], chart: str) -> Schema:
    """The whole values.schema.json."""
    root: Schema = {"type": "object", "additionalProperties": False, "properties": {}}
    for value in values:
        parent = root
        for name in value.path[:-1]:
            parent = parent["properties"][name]
        parent["properties"][value.path[-1]] = _value_schema(value)
    root["properties"] |= FROM_HELM
    used = set(re.findall(r"#/definitions/(\w+)", json.dumps(root)))
    definitions = _definitions()
    if "Endpoint" in used:
        used |= {"Spec"}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": f"Values of the chart {chart}",
        **root,
        "definitions": {name: definitions[name] for name in sorted(used)},
    }


def _value_schema(value: Value) -> Schema:
    described = {"description": value.text} if value.text else {}
    if value.is_section:
        return {**described, "type": "object", "additionalProperties": False, "properties": {}}
    made: Schema = _typed(value.type_name) if value.type_name else {"type": SCALARS[type(value.default)]}
    for name, limit in value.limits.items():
        made[name] = {**made[name], **limit} if isinstance(made.get(name), dict) else limit
    if "$ref" in made:  # what stands beside a reference is not read in draft 7
        made = {"allOf": [made]}
    return {**described, **made, "default": value.default}


def _typed(name: str) -> Schema:
    if name.endswith("[]"):
        return {"type": "array", "items": _typed(name.removesuffix("[]"))}
    return {"$ref": f"#/definitions/{name}"} if name in (*KUBERNETES, "Spec") else dict(TYPES[name])


def _definitions() -> Mapping[str, Schema]:
    embedded = json.loads(EMBEDDED.read_text())
    types = {name.rsplit(".", 1)[-1]: plain(schema) for name, schema in embedded.items()}
    crd = yaml.safe_load(CRD.read_text())
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    partial = {**plain(spec, partial=True), "type": "object"}
    endpoint: Schema = {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            "enabled": {"type": "boolean", "description": "false: the endpoint is not made."},
            "labels": {**TYPES["labels"], "description": "Labels of the endpoint."},
            "annotations": {**TYPES["annotations"], "description": "Annotations of the endpoint."},
            "spec": {"$ref": "#/definitions/Spec"},
        },
    }
    return {**types, "Spec": partial, "Endpoint": endpoint}


def plain(schema: Schema, *, partial: bool = False) -> Schema:
    """A schema of Kubernetes as one of JSON Schema, closed.

    `partial`: for what is merged. Nothing is required but within lists, which are replaced as a whole, and a null takes
    away what the other side says.
    """
    kept = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-") and key != "format"}
    if "properties" in schema:
        kept["properties"] = {name: plain(inner, partial=partial) for name, inner in schema["properties"].items()}
        kept["additionalProperties"] = False
    elif isinstance(schema.get("additionalProperties"), dict):
        kept["additionalProperties"] = plain(schema["additionalProperties"], partial=partial)
    if "items" in schema:
        kept["items"] = plain(schema["items"])
    return _nullable({key: value for key, value in kept.items() if key != "required"}) if partial else kept


def _nullable(schema: Schema) -> Schema:
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    if "enum" in schema:  # the message would offer "<nil>" for a misspelt word
        return schema
    return {**schema, "type": [schema["type"], "null"]}


def table_of(values: list[Value]) -> str:
    """The table of values for README."""
    rows = ["| value | default | meaning |", "|---|---|---|"]
    for value in values:
        if not value.is_section:
            default = json.dumps(value.default, ensure_ascii=False)
            rows.append(f"| `{'.'.join(value.path)}` | `{default}` | {value.text.replace('|', '&#124;')} |")
    return "\n".join(rows) + "\n"


def generated() -> dict[Path, str]:
    """Path → text of all that this script writes."""
    files: dict[Path, str] = {}
    for chart in CHARTS:
        folder = ROOT / "charts" / chart
        values = list(read_values((folder / "values.yaml").read_text()))
        schema = schema_of(values, chart)
        files[folder / "values.schema.json"] = json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
        files[folder / "README.md"] = _with_table((folder / "README.md").read_text(), table_of(values))
    return files


def _with_table(readme: str, table: str) -> str:
    found = README_PART.search(readme)
    if found is None:
        raise SystemExit("a chart's README.md has no place for the table of values")
    return readme[: found.start()] + table + readme[found.end() :]


def main(arguments: list[str]) -> int:
    stale = {path: text for path, text in generated().items() if not path.exists() or path.read_text() != text}
    for path, text in stale.items():
        if "--check" in arguments:
            print(f"{path.relative_to(ROOT)} is not what values.yaml says: run scripts/generate_charts.py")
        else:
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

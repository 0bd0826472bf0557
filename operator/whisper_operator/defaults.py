"""Defaults for every endpoint's pods, which its spec can override: the chart's `defaults`, read from a JSON file.

Pure: `parse_defaults` takes the text. A field is named in the file as here, in camelCase.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Container, Mapping
from typing import Any

from whisper_operator.errors import StartError
from whisper_operator.names import GROUP
from whisper_operator.resource.fields import LABEL_KEY, LABEL_VALUE, Document
from whisper_operator.resource.reserved import RESERVED_ENV, RESERVED_LABELS


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("text")  # noqa: TRY004 - as all parsers here
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")  # noqa: TRY004 - likewise
    return value


def _group(value: Any) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**32):
        raise ValueError("a whole number or null")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise ValueError("a list of texts")
    return tuple(value)


def _documents(value: Any) -> tuple[Document, ...]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError("a list of objects")
    return tuple(value)


def _environment(value: Any) -> tuple[Document, ...]:
    variables = _documents(value)
    for name in (str(one.get("name", "")) for one in variables):
        if name in RESERVED_ENV:
            field = RESERVED_ENV[name]
            raise ValueError(
                f"a list without {name}: {f'write {field} in endpoints instead' if field else 'leave it out'}"
            )
    return variables


def _string_map(value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise ValueError("an object of texts")
    return value


def _annotations(value: Any) -> Mapping[str, str]:
    found = _string_map(value)
    if not all(_fits(key, LABEL_KEY) for key in found):
        raise ValueError("an object with keys such as team or example.com/team")
    return found


def _labels(value: Any) -> Mapping[str, str]:
    found = _annotations(value)
    if not all(_fits(text, LABEL_VALUE) for text in found.values()):
        raise ValueError("an object of texts of at most 63 letters, digits, dashes, dots and underscores")
    return found


def _fits(text: str, limits: Mapping[str, Any]) -> bool:
    return len(text) <= limits["maxLength"] and re.fullmatch(limits["pattern"], text) is not None


def _without_ours(found: Mapping[str, str], reserved: Container[str]) -> Mapping[str, str]:
    for key in found:
        if key in reserved or key.startswith(f"{GROUP}/"):
            raise ValueError(f"an object without {key}, which the operator sets: leave it out")
    return found


def _pod_labels(value: Any) -> Mapping[str, str]:
    return _without_ours(_labels(value), RESERVED_LABELS)


def _pod_annotations(value: Any) -> Mapping[str, str]:
    return _without_ours(_annotations(value), ())


def _pull_policy(value: Any) -> str:
    if value not in ("Always", "IfNotPresent", "Never"):
        raise ValueError("Always, IfNotPresent or Never")
    return str(value)


def _default(value: Any, parse: Callable[[Any], Any]) -> Any:
    metadata = {"parse": parse}
    if value == {}:
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=value, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Defaults:
    """Defaults for every endpoint's pods. Names are camelCase in the file."""

    image_registry: str = _default("", _text)
    """Prefix for images that do not name a registry: registry.example.com/mirror."""
    image_pull_policy: str = _default("IfNotPresent", _pull_policy)
    image_pull_secrets: tuple[str, ...] = _default((), _texts)
    http_proxy: str = _default("", _text)
    https_proxy: str = _default("", _text)
    no_proxy: str = _default("", _text)
    ca_bundle_config_map: str = _default("", _text)
    """ConfigMap in each endpoint's namespace whose key ca.crt holds certificates to trust (SSL_CERT_FILE, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE)."""
    hf_endpoint: str = _default("", _text)
    """A mirror of Hugging Face's hub: HF_ENDPOINT."""
    offline: bool = _default(value=False, parse=_flag)
    """HF_HUB_OFFLINE=1: nothing is downloaded."""
    tolerations: tuple[Document, ...] = _default((), _documents)
    node_selector: Mapping[str, str] = _default({}, _labels)
    fs_group: int | None = _default(2000, _group)
    """Group of mounted volumes; null: the platform chooses (OpenShift)."""
    pod_annotations: Mapping[str, str] = _default({}, _pod_annotations)
    pod_labels: Mapping[str, str] = _default({}, _pod_labels)
    env: tuple[Document, ...] = _default((), _environment)
    """Additional environment variables of every server."""


def camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def parse_defaults(text: str) -> Defaults:
    """StartError names all fields that are wrong."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise StartError(f"DEFAULTS_FILE is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise StartError("DEFAULTS_FILE must hold a JSON object")
    fields = {camel_case(field.name): field for field in dataclasses.fields(Defaults)}
    problems = [f"DEFAULTS_FILE: {name} is unknown" for name in sorted(set(document) - set(fields))]
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in document:
            try:
                values[field.name] = field.metadata["parse"](document[name])
            except ValueError as error:
                problems.append(f"DEFAULTS_FILE: {name} must be {error}, not {json.dumps(document[name])}")
    if problems:
        raise StartError("; ".join(problems))
    return Defaults(**values)

"""The two charts as tests see them: where they are, their values, and what Helm makes of them.

Helm is the one that the test cluster's tools hold; without it, `Unavailable` is raised.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from cluster_kit import tools

CHARTS = Path(__file__).resolve().parents[3] / "charts"
OPERATOR = CHARTS / "whisper-operator"
ENDPOINTS = CHARTS / "whisper-endpoints"
MONITORING_KINDS = tuple(
    f"monitoring.coreos.com/v1/{kind}" for kind in ("PodMonitor", "PrometheusRule", "ServiceMonitor")
)

Document = dict[str, Any]


class HelmFailed(Exception):
    """Helm refused; the message is what it said."""


def values_of(chart: Path) -> Document:
    found: Document = yaml.safe_load((chart / "values.yaml").read_text())
    return found


def schema_of(chart: Path) -> Document:
    found: Document = json.loads((chart / "values.schema.json").read_text())
    return found


def leaves(values: Mapping[str, Any], schema: Mapping[str, Any], *path: str) -> Iterator[tuple[str, ...]]:
    """Paths of all values that are no sections: what the schema has no fields for."""
    for name, value in values.items():
        below = schema["properties"][name]
        if isinstance(value, dict) and "properties" in below:
            yield from leaves(value, below, *path, name)
        else:
            yield (*path, name)


def at(document: Any, path: tuple[str, ...]) -> Any:
    """What is at a path; KeyError where nothing is."""
    for name in path:
        document = document[name]
    return document


def helm(*arguments: str, stdin: str = "") -> str:
    """Helm without a cluster. What it prints."""
    command = [str(tools.path("helm")), *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        raise HelmFailed(done.stderr.strip() or done.stdout.strip())
    return done.stdout


def render(
    chart: Path,
    values: Mapping[str, Any] | Path | None = None,
    *,
    release: str = "wo",
    namespace: str = "whisper-system",
) -> list[Document]:
    """All documents of a release, hooks too."""
    flags = [flag for kind in MONITORING_KINDS for flag in ("--api-versions", kind)]
    where, text = ("-", json.dumps(values or {})) if not isinstance(values, Path) else (str(values), "")
    printed = helm("template", release, str(chart), f"--namespace={namespace}", f"--values={where}", *flags, stdin=text)
    return [document for document in yaml.safe_load_all(printed) if document]


def only(documents: list[Document], kind: str, suffix: str = "") -> Document:
    """The one of a kind whose name ends so."""
    found = [one for one in documents if one["kind"] == kind and one["metadata"]["name"].endswith(suffix)]
    assert len(found) == 1, f"{len(found)} of {kind} {suffix}"
    return found[0]


def environment(documents: list[Document]) -> dict[str, Any]:
    """Name → value of the operator's variables; a reference where there is no value."""
    container = only(documents, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    return {one["name"]: one.get("valueFrom") or one.get("value", "") for one in container["env"]}


def defaults_file(documents: list[Document]) -> str:
    text: str = only(documents, "ConfigMap", "-defaults")["data"]["defaults.json"]
    return text

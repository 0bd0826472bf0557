"""README says what the code does, and no more: settings, routes, errors, formats, verbs."""

import dataclasses
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from whisper_server.api.fields import ResponseFormat
from whisper_server.api.served_models import DEFAULT_NAMES
from whisper_server.errors import ApiError
from whisper_server.http.openapi import DocumentFacts, openapi_document
from whisper_server.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def section(title: str) -> str:
    """From a heading to the next one."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def table_rows(title: str) -> list[str]:
    """Of the section's table, without its head."""
    return [line for line in section(title).splitlines() if line.startswith("| ")][1:]


def settings_rows() -> Iterator[str]:
    for field in dataclasses.fields(Settings):
        default = field.metadata["default"]
        shown = "–" if default is None else f"`{default}`" if default else "empty"
        yield f"| `{field.name.upper()}` | {shown} | {field.metadata['help']} |"


def refusals(parent: type[ApiError] = ApiError) -> Iterator[type[ApiError]]:
    for child in parent.__subclasses__():
        yield child
        yield from refusals(child)


def test_settings_are_those_of_the_dataclass() -> None:
    assert table_rows("Settings") == list(settings_rows()), "README must have:\n" + "\n".join(settings_rows())


def test_aliases_of_settings_are_told() -> None:
    aliases = {field.metadata["alias"] for field in dataclasses.fields(Settings)} - {None}
    assert aliases == {"VLLM_DTYPE"}
    assert all(f"`{alias}` is another name of" in section("Settings") for alias in aliases)


def test_routes_are_those_of_the_document() -> None:
    document = openapi_document(DocumentFacts(version="0", model_names=["whisper"]))
    documented = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    told = {
        f"{method} {path}"
        for row in table_rows("Routes")
        for method, paths in re.findall(r"`(GET|POST) ([^`]+)`", row)
        for path in paths.split()
    }
    assert told == documented


def test_errors_are_those_of_the_code() -> None:
    import_module("whisper_server.http.app")  # which defines every refusal there is
    told = {
        (int(status), code) for status, code in re.findall(r"^\| (\d+) \| `(\w+)`", section("Errors"), re.MULTILINE)
    }
    raised = {(refusal.status, refusal.code) for refusal in refusals() if refusal.code}
    assert told - {(503, "engine_dead")} == raised


def test_formats_are_those_of_the_forms() -> None:
    told = {name for row in table_rows("Formats") for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert told == {str(one) for one in ResponseFormat}


def test_model_names_are_those_served_by_default() -> None:
    told = section("Models").split("the loaded model answers to", maxsplit=1)[1]
    assert tuple(re.findall(r"`([^`]+)`", told)) == DEFAULT_NAMES


@pytest.mark.parametrize("document", [README, (ROOT / "CONTRIBUTING.md").read_text()])
def test_verbs_are_those_of_the_makefile(document: str) -> None:
    verbs = set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z0-9-]+)", document)) <= verbs


def test_continuous_integration_runs_what_readme_says() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert re.findall(r"^make .*$", script, re.MULTILINE) == ["make check test"]
    assert "`make check test`" in " ".join(section("Working on it").split())


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    links = re.findall(r"\]\(([^)#:]+)\)", path.read_text())
    assert links
    assert [link for link in links if not (path.parent / link).exists()] == []

"""Pages about the server say what the code does, and no more: settings, routes, formats, statuses, reference."""

import dataclasses
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from whisper_operator.status.reasons import AVAILABLE, EXPOSED, PRELOADED, READY, REASONS, ROLLED_OUT, SCHEDULED, VALID
from whisper_server.api.options import ResponseFormat
from whisper_server.api.served_models import DEFAULT_NAMES, DIARIZING_NAMES
from whisper_server.audio.limits import WRONG_CHANNELS
from whisper_server.errors import ApiError
from whisper_server.http.openapi import DocumentFacts, openapi_document
from whisper_server.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SETTINGS = (DOCS / "settings.md").read_text()
API = (DOCS / "api.md").read_text()
TROUBLESHOOTING = (DOCS / "troubleshooting.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), *(ROOT / ".github").rglob("*.md")])


def section(page: str, title: str) -> str:
    """From a heading to the next one."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def table_rows(page: str, title: str) -> list[str]:
    """Of the section's table, without its head."""
    return [line for line in section(page, title).splitlines() if line.startswith("| ")][1:]


def refusals(parent: type[ApiError] = ApiError) -> Iterator[type[ApiError]]:
    for child in parent.__subclasses__():
        yield child
        yield from refusals(child)


def anchors(page: str) -> set[str]:
    """As GitHub makes them from headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_generated_pages_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "generate_docs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_settings_page_has_every_setting_with_its_default() -> None:
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \| (.*?) \|", SETTINGS, re.MULTILINE)
    defaults = {field.name.upper(): field.metadata["default"] for field in dataclasses.fields(Settings)}
    shown = {None: "–", "": "empty"}
    assert rows == [(name, shown.get(default, f"`{default}`")) for name, default in defaults.items()]


def test_settings_page_has_the_aliases() -> None:
    aliases = {field.metadata["alias"] for field in dataclasses.fields(Settings)} - {None}
    assert aliases == {"VLLM_DTYPE", "AWS_ENDPOINT_URL_S3"}
    assert all(f"`{alias}` is another name of" in SETTINGS for alias in aliases)


def test_settings_page_has_the_default_model_names() -> None:
    names = section(SETTINGS, "Models").split("the loaded model answers to", maxsplit=1)[1]
    assert tuple(re.findall(r"`([^`]+)`", names)) == (*DEFAULT_NAMES, *DIARIZING_NAMES)


def test_refusal_on_the_settings_page_is_what_the_server_says() -> None:
    shown = re.search(r"^\$ (.*?) \.venv/bin/whisper-server\n(.*)\n```", SETTINGS, re.MULTILINE)
    assert shown
    environment = dict(pair.split("=") for pair in shown[1].split())
    command = [sys.executable, "-m", "whisper_server"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == shown[2]


def test_routes_are_those_of_the_document() -> None:
    document = openapi_document(DocumentFacts(version="0", model_names=["whisper"]))
    documented = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert {row.split("`")[1] for row in table_rows(API, "Routes")} == documented


def test_formats_are_those_of_the_forms() -> None:
    named = {name for row in table_rows(API, "Formats") for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert named == {str(one) for one in ResponseFormat}


def test_statuses_are_those_of_the_code() -> None:
    import_module("whisper_server.http.app")  # which defines every refusal there is
    rows = table_rows(TROUBLESHOOTING, "HTTP statuses")
    named = {(int(row.split("|")[1]), row.split("|")[2].strip(" `")) for row in rows}
    raised = {(refusal.status, refusal.code) for refusal in refusals() if refusal.code}
    by_the_place = {(503, "engine_dead"), (400, "–"), (400, WRONG_CHANNELS)}  # codes that are given where it is raised
    assert named - by_the_place == raised


def test_start_refusals_are_in_the_code() -> None:
    packages = (ROOT / "server" / "whisper_server", ROOT / "runtime" / "whisper_runtime")
    code = " ".join(path.read_text() for package in packages for path in package.rglob("*.py"))
    code = re.sub(r'"\s+f?"', "", code)  # literals that Python joins
    quoted = [
        text
        for row in table_rows(TROUBLESHOOTING, "The server does not start")
        for text in re.findall(r"`(.+?)`", row.split("|")[1])
    ]
    pieces = [piece.strip(" :?") for text in quoted for piece in text.split("…") if len(piece.strip(" :?")) > 3]
    # Names of variables are put together, as in PORT=80 on INTERFACE=0.0.0.0.
    missing = {
        piece for piece in pieces if piece not in code and not re.fullmatch(r"[A-Z_]+(=\S+)?.*|/ready|loading", piece)
    }
    assert missing == set()


def test_troubleshooting_has_every_reason_that_is_not_good_news() -> None:
    good = {READY, VALID, AVAILABLE, SCHEDULED, ROLLED_OUT, EXPOSED, PRELOADED}
    rows = table_rows(TROUBLESHOOTING, "On Kubernetes: READY is not True")
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])} == set(REASONS) - good


def test_glossary_is_short() -> None:
    assert 1 <= len(table_rows((DOCS / "architecture.md").read_text(), "Glossary")) <= 15


def test_package_table_follows_the_layers_of_import_linter() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract.get("containers") == ["whisper_server"]]
    names = {name for layer in layers for name in re.findall(r"\w+", layer)}
    first_cells = [row.split("|")[2] for row in table_rows((DOCS / "architecture.md").read_text(), "Packages")]
    assert {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)} == names


@pytest.mark.parametrize("name", ["overview.svg", "architecture.svg"])
def test_pictures_can_be_read_and_say_what_they_show(name: str) -> None:
    picture = ET.parse(DOCS / name).getroot()
    tags = {child.tag.partition("}")[2] for child in picture}
    assert {"title", "desc"} <= tags


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_paths_of_code_are_there(path: Path) -> None:
    named = re.findall(r"`((?:server|operator|tests|scripts|charts)/[\w./-]+)`", path.read_text())
    assert {name for name in named if not (ROOT / name).exists()} == set()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    page = path.read_text()
    for link, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)", page):
        target = (path.parent / link).resolve() if link else path
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target.read_text()), f"{link}#{anchor}"

"""What the server imports is what its distribution asks for; every setting does something."""

import ast
import dataclasses
import re
import sys
import tomllib
from pathlib import Path

from whisper_server.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "server" / "whisper_server"
SOURCES = {path: path.read_text() for path in PACKAGE.rglob("*.py")}

IMPORTED_AS = {"faster-whisper": None, "huggingface-hub": "huggingface_hub", "prometheus-client": "prometheus_client"}
"""Distributions whose module has another name; None: wanted for a file that it carries, never imported."""
COMES_WITH = {"pydantic_core": "pydantic"}
READS = {"os.environ", "os.getenv"}


def imported() -> set[str]:
    found: set[str] = set()
    for source in SOURCES.values():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.split(".")[0])
    ours = {"whisper_server", "__future__", "_typeshed"}
    return {COMES_WITH.get(name, name) for name in found - ours - sys.stdlib_module_names}


def test_dependencies_are_what_is_imported() -> None:
    project = tomllib.loads((ROOT / "server" / "pyproject.toml").read_text())["project"]
    names = []
    for lines in (project["dependencies"], *project["optional-dependencies"].values()):
        asked = [re.split(r"[<>=\[; ]", line)[0] for line in lines]
        assert asked == sorted(asked)
        names += asked
    assert {IMPORTED_AS.get(name, name) for name in names} - {None} == imported()


def test_every_setting_has_an_effect() -> None:
    read = set(re.findall(r"\b(?:settings|self)\.([a-z_]+)", "\n".join(SOURCES.values())))
    assert {field.name for field in dataclasses.fields(Settings)} - read == set()


def reads_environment(source: str) -> bool:
    attributes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)]
    return any(isinstance(one.value, ast.Name) and f"{one.value.id}.{one.attr}" in READS for one in attributes)


def test_only_the_entry_reads_the_environment() -> None:
    readers = {str(path.relative_to(PACKAGE)) for path, source in SOURCES.items() if reads_environment(source)}
    # The others read nothing: one hands it down to the processes that it starts, one turns a library's reports off,
    # one tells vLLM what it takes from nowhere else.
    assert readers == {"__main__.py", "audio/worker_process.py", "engines/vllm/options.py", "vad.py"}

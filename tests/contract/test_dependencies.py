"""What server and operator import is what their distributions ask for; every setting does something."""

import ast
import dataclasses
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import whisper_operator.settings
import whisper_server.settings

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {part: ROOT / part / f"whisper_{part}" for part in ("runtime", "server", "operator")}
SOURCES = {part: {path: path.read_text() for path in folder.rglob("*.py")} for part, folder in PACKAGES.items()}

IMPORTED_AS = {
    "huggingface-hub": "huggingface_hub",
    "nvidia-ml-py": "pynvml",
    "prometheus-client": "prometheus_client",
    "whisper-runtime": "whisper_runtime",
}
"""Distributions whose module has another name."""
COMES_WITH = {"pydantic_core": "pydantic"}
READS = {"os.environ", "os.getenv"}


def imported(part: str) -> set[str]:
    found: set[str] = set()
    for source in SOURCES[part].values():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.split(".")[0])
    ours = {PACKAGES[part].name, "__future__", "_typeshed"}
    return {COMES_WITH.get(name, name) for name in found - ours - sys.stdlib_module_names}


def idle_settings(part: str, settings: type[Any]) -> set[str]:
    read = set(
        re.findall(r"(?:(?<=settings\.)|(?<=self\.)|(?<=defaults\.))[a-z0-9_]+", "\n".join(SOURCES[part].values()))
    )
    return {field.name for field in dataclasses.fields(settings)} - read


@pytest.mark.parametrize("part", PACKAGES)
def test_dependencies_are_what_is_imported(part: str) -> None:
    project = tomllib.loads((ROOT / part / "pyproject.toml").read_text())["project"]
    names = []
    for lines in (project["dependencies"], *project.get("optional-dependencies", {}).values()):
        asked = [re.split(r"[<>=\[; ]", line)[0] for line in lines]
        assert asked == sorted(asked)
        names += asked
    assert {IMPORTED_AS.get(name, name) for name in names} == imported(part)


def test_every_setting_of_the_server_has_an_effect() -> None:
    assert idle_settings("server", whisper_server.settings.Settings) == set()


@pytest.mark.parametrize("settings", [whisper_operator.settings.Settings, whisper_operator.settings.Defaults])
def test_every_setting_of_the_operator_has_an_effect(settings: type[Any]) -> None:
    assert idle_settings("operator", settings) == set()


def reads_environment(source: str) -> bool:
    attributes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)]
    return any(isinstance(one.value, ast.Name) and f"{one.value.id}.{one.attr}" in READS for one in attributes)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        # The others read nothing: one hands it down to the processes that are started, one turns a library's reports off,
        # one gives vLLM values that it takes from nowhere else, one asks which GPU CUDA may use.
        (
            "server",
            {
                "__main__.py",
                "process/children.py",
                "engines/choice.py",
                "engines/vllm/engine_args.py",
                "whisper/onnx_session.py",
            },
        ),
        ("operator", {"__main__.py"}),
    ],
)
def test_only_the_entry_reads_the_environment(part: str, expected: set[str]) -> None:
    sources = SOURCES[part].items()
    assert {str(path.relative_to(PACKAGES[part])) for path, text in sources if reads_environment(text)} == expected

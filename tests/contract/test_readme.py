"""README and CONTRIBUTING name what is there: verbs, files, commands, figures."""

import re
from pathlib import Path

import pytest
import yaml

from operator_kit.endpoints import make_stored_endpoint
from whisper_operator.resource.parse import parse_endpoint

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("document", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_verbs_are_those_of_the_makefile(document: str) -> None:
    verbs = set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z0-9-]+)", document)) <= verbs


def test_continuous_integration_runs_what_contributing_says() -> None:
    (command,) = re.findall(r"^make .*$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert f"`{command}`" in " ".join(CONTRIBUTING.split())


def test_readme_names_files_that_are_there() -> None:
    named = re.findall(r"(?:charts|docs|models|demo|bench)/[\w./-]+", README)
    assert named
    assert [name for name in named if not (ROOT / name.rstrip("./")).exists()] == []


def test_first_console_of_readme_says_true() -> None:
    heads = re.search(r"^NAME +READY.*\n(.*)$", README, re.MULTILINE)
    assert heads
    assert heads[1].split()[1] == "True"


def test_endpoints_of_readme_can_be_read() -> None:
    blocks = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)]
    assert blocks
    for block in blocks:
        parse_endpoint({**make_stored_endpoint(), "spec": block["spec"]})


def test_figures_of_the_sizing_table_are_measured() -> None:
    results = (ROOT / "bench" / "RESULTS.md").read_text()
    table = README.split("## Sizing", maxsplit=1)[1].split("\n## ", maxsplit=1)[0]
    figures = {
        figure
        for row in re.findall(r"^\|.*\| measured.*$", table, re.MULTILINE)
        for figure in re.findall(r"\*\*([\d,.]+)\*\*", row)
    }
    assert figures
    assert {
        figure for figure in figures if not re.search(rf"(?<![\d,.]){re.escape(figure)}(?![\d,])", results)
    } == set()

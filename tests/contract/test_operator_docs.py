"""docs/operator.md says what the operator does: its settings, its probes, its metrics' prefix."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from whisper_operator.settings import Settings

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "operator.md").read_text()


def settings_rows() -> Iterator[str]:
    for field in dataclasses.fields(Settings):
        if field.name != "defaults":
            default = field.metadata["default"]
            shown = "–" if default is None else f"`{default}`" if default else "empty"
            yield f"| `{field.name.upper()}` | {shown} | {field.metadata['help']} |"


def test_settings_are_those_of_the_dataclass() -> None:
    told = re.findall(r"^\| `[A-Z_]+` \|.*$", DOCS, re.MULTILINE)
    assert told == list(settings_rows()), "docs/operator.md must have:\n" + "\n".join(settings_rows())

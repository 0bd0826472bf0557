#!/usr/bin/env python
"""Counts strings that are not in plain English: docstrings, comments and string constants of all distributions.

    scripts/count_mannerisms.py             prints each string with its place and the mannerisms in it, then the total
    scripts/count_mannerisms.py --max 10    the same; exit code 1 if the total is above 10
    scripts/count_mannerisms.py PATH …      reads these files and folders instead

A string counts once, however many mannerisms it has. Comment lines that follow each other are one string. The patterns
come from a review of the texts; a match can be good English, which is why the limit is not 0.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sorted(ROOT.glob("*/whisper_*/"))
"""Of every distribution."""

_PEOPLE = ("person", "people", "client", "clients", "caller", "callers", "user", "users", "somebody", "someone",
           "anybody", "anyone", "everybody", "everyone", "those", "administrator", "maintainer", "maintainers")  # fmt: skip
_NO_PERSON_BEFORE = "".join(rf"(?<!\b{noun} )" for noun in _PEOPLE)
MANNERISMS = {
    "whoever": r"\bwhoever\b",
    "nobody": r"\bnobody\b",
    "who without a noun before it": rf"{_NO_PERSON_BEFORE}\bwho\b",
    "what as a headless subject": r"(?:^|[.;:] )What (?:is|are|was|were|has|have|comes|came|goes|may|can)\b[^.;:]* (?:is|are|was|were|has|have|goes|stays|must|may|can|cannot|will|does)\b",
    "is told": r"\btold\b(?! apart)",
    "tells": r"\b(?:tells|tell)\b(?! apart)",
    "for ever": r"\bfor ever\b",
    "anew": r"\banew\b",
    "bear, mend": r"\b(?:bears?|borne|mends?|mended)\b",
    "beside": r"\bbeside\b",
    "meanwhile": r"\bmeanwhile\b",
    "postponed subject": r"\bnothing of (?:it|them)\b|\bwere there\b|\bhad there been\b|^All of (?:it|them)\b",
    "looked after, looked at": r"\blooked (?:at|after|for|upon)\b",
}
_PATTERNS = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in MANNERISMS.items()}


class Text(NamedTuple):
    """A docstring, a comment or a string constant, with the line that it begins on."""

    line: int
    text: str


def texts_of(source: str) -> Iterator[Text]:
    """Every text of a module. String constants without a space are names, not texts, and are left out."""
    yield from _strings(ast.parse(source))
    yield from _comments(source)


def _strings(node: ast.AST) -> Iterator[Text]:
    if isinstance(node, ast.JoinedStr):  # an f-string is one text; its expressions may hold others
        fixed = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        yield Text(node.lineno, "".join(str(part) for part in fixed))
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                yield from _strings(part.value)
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
        yield Text(node.lineno, node.value)
    for child in ast.iter_child_nodes(node):
        yield from _strings(child)


def _comments(source: str) -> Iterator[Text]:
    """Comments; those alone on lines that follow each other are joined."""
    block: list[str] = []
    first = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        alone, line = not token.line[: token.start[1]].strip(), token.start[0]
        if block and not (alone and line == last + 1):
            yield Text(first, " ".join(block))
            block = []
        if not block:
            first = line
        block.append(token.string.lstrip("# "))
        last = line if alone else 0
    if block:
        yield Text(first, " ".join(block))


def mannerisms_in(text: str) -> list[str]:
    """The names of those that the text has."""
    flat = " ".join(text.split())
    return [name for name, pattern in _PATTERNS.items() if pattern.search(flat)]


def modules(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "paths", nargs="*", type=Path, help="files or folders; default: the packages of all distributions"
    )
    parser.add_argument("--max", type=int, default=None, metavar="N", help="exit code 1 if more strings are found")
    arguments = parser.parse_args()
    n_found, by_name = 0, Counter[str]()
    for path in modules(arguments.paths or PACKAGES):
        shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        for line, text in sorted(texts_of(path.read_text())):
            if names := mannerisms_in(text):
                n_found += 1
                by_name.update(names)
                print(f"{shown}:{line}: [{'; '.join(names)}] {' '.join(text.split())}")
    print(f"{n_found} strings with mannerisms: " + ", ".join(f"{name} {n}" for name, n in by_name.most_common()))
    if arguments.max is not None and n_found > arguments.max:
        print(f"more than {arguments.max}: rewrite them in plain English (CONTRIBUTING.md, “Words”)", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python
"""Writes what is made from the code: the CRD in the chart, the tables in docs/whisperendpoint.md.

scripts/generate.py            writes what is not up to date
scripts/generate.py --check    writes nothing; exit code 1 names what is not up to date
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "operator"))

from whisper_operator.resource.crd import make_crd  # noqa: E402 - found through the line above

CRD = "charts/whisper-operator/files/whisperendpoints.yaml"


def crd_text() -> str:
    head = "# Written by scripts/generate.py from operator/whisper_operator/resource.\n"
    return head + yaml.safe_dump(make_crd(), sort_keys=False, width=120, allow_unicode=True)


def generated() -> dict[str, str]:
    """Path → text of all that this script writes."""
    return {CRD: crd_text()}


def main(arguments: list[str]) -> int:
    stale = [path for path, text in generated().items() if not _is(ROOT / path, text)]
    if "--check" in arguments:
        for path in stale:
            print(f"{path} is not what the code says: run scripts/generate.py")
        return 1 if stale else 0
    for path in stale:
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(generated()[path])
        print(f"wrote {path}")
    return 0


def _is(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

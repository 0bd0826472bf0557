#!/usr/bin/env python
"""Writes what is made from the code: the CRD in the chart, the tables in docs/whisperendpoint.md.

scripts/generate.py            writes what is not up to date
scripts/generate.py --check    writes nothing; exit code 1 names what is not up to date
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "operator"))

from reference_tables import tables  # noqa: E402 - found beside this file

from whisper_operator.names import GROUP  # noqa: E402
from whisper_operator.resource.crd import make_crd  # noqa: E402
from whisper_operator.resource.reserved import RESERVED_ENV, RESERVED_LABELS  # noqa: E402

CRD = "charts/whisper-operator/files/whisperendpoints.yaml"
RESERVED = "charts/whisper-operator/files/reserved-env.yaml"
LABELS = "charts/whisper-operator/files/reserved-labels.yaml"
OF_RESERVED = "# Written by scripts/generate.py from operator/whisper_operator/resource/reserved.py.\n"
PAGE = "docs/whisperendpoint.md"
PART = re.compile(r"(<!-- ([a-z]+): by scripts/generate\.py -->\n).*?(<!-- end -->)", re.DOTALL)


def crd_text() -> str:
    head = "# Written by scripts/generate.py from operator/whisper_operator/resource.\n"
    return head + yaml.safe_dump(make_crd(), sort_keys=False, width=120, allow_unicode=True)


def reserved_text() -> str:
    """Variable → the field of an endpoint to write instead; the chart refuses these in `defaults.env`."""
    return OF_RESERVED + yaml.safe_dump(dict(RESERVED_ENV), sort_keys=False, width=120)


def reserved_labels_text() -> str:
    """Labels, and the group of others, that the chart refuses in `defaults.podLabels`; the group in `podAnnotations`, too."""
    return OF_RESERVED + yaml.safe_dump({"group": f"{GROUP}/", "labels": list(RESERVED_LABELS)}, sort_keys=False)


def page_text() -> str:
    """The page with its tables generated again. A table that has no place, or a place without a table, is an error."""
    made = tables()
    old = (ROOT / PAGE).read_text()
    places = [name for _, name, _ in PART.findall(old)]
    if sorted(places) != sorted(made):
        raise SystemExit(f"{PAGE} has places for {sorted(places)}, and there are {sorted(made)}")
    return PART.sub(lambda found: f"{found[1]}\n{made[found[2]]}\n\n{found[3]}", old)


def generated() -> dict[str, str]:
    """Path → text of all that this script writes."""
    return {CRD: crd_text(), RESERVED: reserved_text(), LABELS: reserved_labels_text(), PAGE: page_text()}


def main(arguments: list[str]) -> int:
    texts = generated()
    stale = [path for path, text in texts.items() if not _is(ROOT / path, text)]
    if "--check" in arguments:
        for path in stale:
            print(f"{path} is not what the code says: run scripts/generate.py")
        return 1 if stale else 0
    for path in stale:
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(texts[path])
        print(f"wrote {path}")
    return 0


def _is(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""Whether the test bed (clusters, the real node, what builds them) has changed since its own tests last passed.

Its own tests show nothing about the product: they run where the bed has changed, and in `make test-all`.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from suite_kit.reports import Report

BED = ("tests/cluster/cluster_kit", "tests/cluster/tools", "tests/kit/e2e_kit/ground.py")
BED_TESTS = (
    "tests/cluster/test_cluster_kit.py",
    "tests/cluster/test_cluster_lifecycle.py",
    "tests/cluster/test_real_node_refused.py",
    "tests/cluster/test_simulated.py",
    "tests/e2e/test_ingress_ground.py",
    "tests/e2e/test_nothing_left.py",
    "tests/kit/e2e_kit/ends_of_a_cluster.py",
    "tests/kit/e2e_kit/inventory.py",
)
BASES = ("origin/main", "main", "HEAD")
"""What the bed is compared with: the first that the checkout knows. Without main, only changes not yet committed count."""


def reason_to_skip(root: Path) -> str:
    """Why the bed's own tests need not run; empty where they must."""
    if _stamp(root).exists():
        return "the test bed has not changed since its own tests last passed on this machine: make test-all runs them"
    base = _merge_base(root)
    if base and not _git(root, "diff", "--name-only", base, "--", *BED, *BED_TESTS):
        return f"the test bed has not changed since {base[:9]}, where main is or was left: make test-all runs its own tests"
    return ""


def note_success(root: Path, reports: Iterable[Report]) -> None:
    """Remember that the bed's own tests have passed, where all of them ran."""
    names = {path.removesuffix(".py").replace("/", ".") for path in BED_TESTS if "/test_" in path}
    cases = [case for report in reports for case in report.cases if case.file in names]
    if {case.file for case in cases} == names and all(case.outcome == "passed" for case in cases):
        _stamp(root).parent.mkdir(parents=True, exist_ok=True)
        _stamp(root).touch()


def _stamp(root: Path) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256()
    for top in (*BED, *BED_TESTS):
        below = [root / top] if (root / top).is_file() else sorted((root / top).rglob("*"))
        for path in below:
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return cache / "whisper-test-bed" / digest.hexdigest()[:16]


def _merge_base(root: Path) -> str:
    """Where this branch left main; empty where there is no git repository."""
    for base in BASES:
        found = _git(root, "merge-base", "HEAD", base)
        if found:
            return found
    return ""


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip()

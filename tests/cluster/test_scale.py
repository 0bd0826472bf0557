"""Forty endpoints at once, a hundred before a release. A thousand, and how fast, is `make soak`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from suite_kit.slow import IN_SHORT

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(1800)  # at load 20, 600 s were too short
def test_many_endpoints(needs_cluster: None) -> None:
    command = [
        sys.executable,
        "bench/operator_scale.py",
        f"--endpoints={40 if IN_SHORT else 100}",
        "--namespaces=5",
        "--changes=5",
    ]
    ran = subprocess.run(
        [*command, "--idle-seconds=10"],
        cwd=ROOT,
        env={"PYTHONPATH": "operator:tests/kit:tests/cluster", "PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
        capture_output=True,
        text=True,
        check=False,
    )
    print(ran.stdout)
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"^all children applied, status current: ", ran.stdout, re.MULTILINE)
    # The operator writes nothing while nothing changes.
    meanwhile = re.search(r"meanwhile: (.*)", ran.stdout)
    assert meanwhile
    assert "applies_total" not in meanwhile[1]

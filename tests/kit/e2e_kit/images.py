"""The images under test, as archives that a node takes without a registry. How they are built is in scripts/build.sh."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from cluster_kit.tools import Unavailable
from server_kit.process import REPOSITORY

NAMED = "WHISPER_ARCHIVES"
"""Paths, one a line, of archives to take as they are, whatever the sources say meanwhile."""


def archives() -> tuple[Path, ...]:
    """Those of the sources as they are; built where that was not done yet. Raises Unavailable with the end of what the
    build said.
    """
    named = os.environ.get(NAMED, "").splitlines()
    if named:
        return tuple(Path(path) for path in named)
    build = [str(REPOSITORY / "scripts" / "build.sh"), "archives"]
    done = subprocess.run(build, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"the images cannot be built: {done.stderr.strip()[-2000:]}")
    return tuple(Path(line) for line in done.stdout.splitlines())

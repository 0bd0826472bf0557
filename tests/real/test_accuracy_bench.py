"""The accuracy benchmark in small: that it runs, and that both sides hear the words."""

from __future__ import annotations

from pathlib import Path

import pytest

from real_kit.scores import normalised
from real_kit.speech import music, prompts
from server_kit.process import output_of_bench


@pytest.mark.before_release(because="it takes a minute of CPU, and make bench-accuracy is not of every day")
def test_accuracy_bench_tells_both_sides(tmp_path: Path) -> None:
    assert prompts("en")
    assert music()
    choice = ["--size", "tiny", "--languages", "en", "--sets", "long,instrumental"]
    choice += ["--systems", "ours json,faster-whisper batched", "--out", str(tmp_path / "accuracy.jsonl")]
    lines = output_of_bench("accuracy.py", choice)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "| " in line]
    wer_of = {(row[0], row[1]): row[2] for row in rows[1:]}
    assert list(wer_of) == [
        (which, system) for which in ("long", "instrumental") for system in ("ours json", "faster-whisper batched")
    ]
    assert float(wer_of["long", "ours json"].rstrip("%")) <= 20


@pytest.mark.parametrize(
    ("language", "said"),
    [("es", "uno dos"), ("fr", "un deux"), ("it", "uno due"), ("ru", "один два")],
)
def test_numbers_in_words_and_in_digits_are_the_same(language: str, said: str) -> None:
    assert normalised(said, language) == normalised("1, 2", language) == ["1", "2"]

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


def test_the_bench_of_engines_in_small(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recordings, texts = str(tmp_path / "recordings.npz"), str(tmp_path / "texts.jsonl")
    output_of_bench("engine_accuracy.py", ["recordings", recordings, "--seeds=7", "--languages=en", "--prompts=2"])
    monkeypatch.setenv("MODEL_ID", str(checkpoint))
    monkeypatch.setenv("MODEL_CACHE_DIR", str(tmp_path / "models"))
    output_of_bench("engine_accuracy.py", ["hear", recordings, texts, "--formats=json,srt"])
    rows = [line.split("|")[1:5] for line in output_of_bench("engine_accuracy.py", ["score", texts])[2:]]
    assert [name.strip() for name, *_ in rows] == ["ctranslate2 int8_float32, json", "ctranslate2 int8_float32, srt"]
    for name, rate, n_words, _ in rows:
        assert int(n_words) > 10
        assert float(rate.strip(" %")) < 15, name

"""Whether two engines give the same answers: 200 sentences through one server, then another, then compared.

PYTHONPATH=tests/kit python bench/same_answers.py collect URL OUT.json
PYTHONPATH=tests/kit python bench/same_answers.py compare ONE.json OTHER.json
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from speech_kit.scores import word_errors
from speech_kit.sentences import sentences, spoken
from speech_kit.sounds import wav

LANGUAGES = ("en", "de", "es", "ru")
N_PER_LANGUAGE = 50
MAX_WORD_DIFFERENCE_S = 0.04


def collect(url: str, out: Path, n_at_a_time: int) -> None:
    """Every sentence as verbose_json with words and segments."""

    def ask(which: tuple[str, int]) -> dict[str, Any]:
        language, index = which
        utterance = spoken(language, index % len(sentences(language)))
        answer = httpx.post(
            f"{url}/v1/audio/transcriptions",
            data={
                "model": "whisper-1",
                "language": language,
                "response_format": "verbose_json",
                "timestamp_granularities[]": ["word", "segment"],
            },
            files={"file": ("clip.wav", wav(utterance.samples))},
            timeout=600,
        )
        answer.raise_for_status()
        return {"said": utterance.text, "language": language, **answer.json()}

    which = [(language, index) for language in LANGUAGES for index in range(N_PER_LANGUAGE)]
    with ThreadPoolExecutor(n_at_a_time) as pool:
        out.write_text(json.dumps(list(pool.map(ask, which))), encoding="utf-8")


def compare(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    """Print how alike they are."""
    n = len(one)
    same = [a["text"] == b["text"] for a, b in zip(one, other, strict=True)]
    print(f"same text: {sum(same)} of {n} ({sum(same) / n:.1%})")
    for name, answers in (("one", one), ("other", other)):
        rate = word_errors([a["said"] for a in answers], [a["text"] for a in answers]).rate
        print(f"WER of {name}: {rate:.2%}")
    temperatures = [_temperature(a) == _temperature(b) for a, b in zip(one, other, strict=True)]
    print(f"same temperature: {sum(temperatures)} of {n} ({sum(temperatures) / n:.1%})")
    pairs = [(a, b) for a, b, alike in zip(one, other, same, strict=True) if alike]
    for field in ("start", "end"):
        apart_s = [abs(x[field] - y[field]) for a, b in pairs for x, y in zip(a["words"], b["words"], strict=False)]
        within = np.mean(np.array(apart_s) <= MAX_WORD_DIFFERENCE_S + 1e-6)
        print(
            f"word {field}s apart: most {max(apart_s):.3f} s, within {MAX_WORD_DIFFERENCE_S} s {within:.2%} of {len(apart_s)}"
        )
    segments = [(x, y) for a, b in pairs for x, y in zip(a["segments"], b["segments"], strict=False)]
    for field in ("avg_logprob", "no_speech_prob", "compression_ratio", "start", "end"):
        print(f"segment {field} apart: most {max(abs(x[field] - y[field]) for x, y in segments):.4f}")
    for a, b in zip(one, other, strict=True):
        if a["text"] != b["text"]:
            print(f"- {a['text']!r} / {b['text']!r}")


def _temperature(answer: dict[str, Any]) -> float:
    return max((segment["temperature"] for segment in answer["segments"]), default=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("collect", "compare"))
    parser.add_argument("paths", nargs=2)
    parser.add_argument("--clients", type=int, default=4)
    args = parser.parse_args()
    if args.what == "collect":
        collect(args.paths[0].rstrip("/"), Path(args.paths[1]), args.clients)
    else:
        one, other = (json.loads(Path(path).read_text(encoding="utf-8")) for path in args.paths)
        compare(one, other)


if __name__ == "__main__":
    main()

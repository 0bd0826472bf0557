"""Windows padded as the CPU engine pads those without timestamps beside windows of 30 s: word errors, times, CPU seconds.

Whisper base (or tiny.en) in int8, this server's pipeline in process, language given. Prompts, and recordings of 5 to 28 s made of
prompts with pauses; none of the prompts is among the first hundred of `real_kit.speech.clips`, which other benches score.
PYTHONPATH=demo:tests/kit python bench/padding.py [--clips 20 --joined 20 --languages en,es]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soxr
from figures import machine
from our_pipeline import Heard, OurPipeline

from real_kit.scores import Errors, errors
from real_kit.speech import LANGUAGES, RATE_HZ, Recording, Sentence, Sound, clips, silence
from real_kit.weights import tiny_en_ctranslate2
from whisper_base import base_ctranslate2
from whisper_server.whisper.constants import N_MEL_FRAMES, SAMPLE_RATE_HZ
from whisper_server.whisper.mel import padded_mel_frames

N_SCORED_ELSEWHERE = 100
MIN_S, MAX_S = 5.0, 28.0
MAX_TIME_DIFFERENCE_S = 0.04
PADDINGS: Mapping[str, Callable[[int], int]] = {"30 s": lambda _: N_MEL_FRAMES, "as the engine": padded_mel_frames}


@dataclass
class Row:
    """One way to pad, in one format."""

    errors: dict[str, Errors] = field(default_factory=lambda: defaultdict(Errors))
    """By language."""
    cpu_s: float = 0.0


def recordings(language: str, n_clips: int, n_joined: int) -> Iterator[Recording]:
    """Prompts, then several of them in one recording, of all lengths."""
    unscored = clips(language, 1000)[N_SCORED_ELSEWHERE:]
    yield from unscored[:n_clips]
    rng = random.Random(language)
    for number in range(n_joined):
        yield _joined(rng, rng.sample(unscored, len(unscored)), MIN_S + (MAX_S - MIN_S) * (number + 0.5) / n_joined)


def _joined(rng: random.Random, parts: list[Recording], duration_s: float) -> Recording:
    sounds: list[Sound] = []
    sentences: list[Sentence] = []
    at_s = 0.0
    for part in parts:
        pause_s = rng.uniform(0.2, 1.2)
        if at_s + part.duration_s + pause_s <= duration_s:
            sentences.append(Sentence(at_s, at_s + part.duration_s, part.text))
            sounds += [part.sound, silence(pause_s)]
            at_s += part.duration_s + pause_s
    return Recording(f"{duration_s:.1f} s", parts[0].language, np.concatenate(sounds), tuple(sentences))


def differences_s(one: Heard, other: Heard) -> list[float]:
    """Of the starts and ends of words; none where the words differ."""
    if [word for word, _, _ in one.words] != [word for word, _, _ in other.words]:
        return []
    return [abs(a - b) for x, y in zip(one.words, other.words, strict=True) for a, b in zip(x[1:], y[1:], strict=True)]


async def run(args: argparse.Namespace, cache: Path) -> None:
    """Print a row per padding and format."""
    languages = args.languages.split(",")
    rows: dict[tuple[str, str], Row] = defaultdict(Row)
    differences: list[float] = []
    is_english = args.model == "tiny.en"
    folder = tiny_en_ctranslate2() if is_english else base_ctranslate2()
    pipelines = [
        OurPipeline(folder, cache, 1, frames, dtype="int8", pads_all=True, is_multilingual=not is_english)
        for frames in PADDINGS.values()
    ]
    async with pipelines[0], pipelines[1]:
        for language in languages:
            for recording in recordings(language, args.clips, args.joined):
                samples = np.asarray(soxr.resample(recording.sound, RATE_HZ, SAMPLE_RATE_HZ), np.float32)
                for response_format in ("json", "verbose_json"):
                    answers = []
                    for padding, pipeline in zip(PADDINGS, pipelines, strict=True):
                        begin_s = time.process_time()
                        heard = await pipeline.hear(samples, language, timestamps=response_format == "verbose_json")
                        row = rows[padding, response_format]
                        row.cpu_s += time.process_time() - begin_s
                        row.errors[language] += errors(recording, heard.text)
                        answers.append(heard)
                    differences += differences_s(*answers)
    print(f"| padding | format | WER | {' | '.join(languages)} | deletions | insertions | CPU s |")
    for (padding, response_format), row in rows.items():
        total = sum(row.errors.values(), Errors())
        rates = " | ".join(f"{one.rate:.1%}" for one in (total, *(row.errors[language] for language in languages)))
        counts = f"{total.deletions} | {total.insertions} | {row.cpu_s:.0f}"
        print(f"| {padding} | {response_format} | {rates} | {counts} |")
    share = np.mean([one <= MAX_TIME_DIFFERENCE_S + 1e-6 for one in differences])
    print(f"times of words within 40 ms, where the words are the same: {share:.1%} of {len(differences)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=20, help="per language")
    parser.add_argument("--joined", type=int, default=20, help="recordings of several prompts, per language")
    parser.add_argument("--model", choices=("base", "tiny.en"), default="base")
    parser.add_argument("--languages", default=",".join(LANGUAGES))
    args = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(args, Path(folder)))


if __name__ == "__main__":
    main()

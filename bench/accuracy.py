"""Word errors on human speech: our server over HTTP, faster-whisper and openai/whisper on the same weights of Whisper base.

Five languages; prompts, long recordings, the same over music, at −40 dB and 1.8 times as fast; music alone. A line of
JSON per recording and system goes to --out, a Markdown table of all its lines to the screen: runs add up.
PYTHONPATH=demo:tests/kit python bench/accuracy.py [--size small]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import openai_whisper
from accuracy_systems import DTYPE, SYSTEMS, System, start
from figures import machine

from real_kit.scores import Errors, errors, normalised
from real_kit.speech import CHANGES, LANGUAGES, RATE_HZ, Recording, clips, long_recording, music

SETS = ("long", "clips", *CHANGES, "instrumental")


@dataclass(frozen=True)
class Size:
    """How much of each set is heard, per language."""

    n_clips: int
    n_prompts: int
    """Of a long recording: six seconds each."""
    seeds: tuple[int, ...]
    max_piece_s: float
    """Of a piece of music."""


SIZES = {
    "tiny": Size(n_clips=1, n_prompts=3, seeds=(7,), max_piece_s=5),
    "small": Size(n_clips=5, n_prompts=12, seeds=(7,), max_piece_s=30),
    "full": Size(n_clips=100, n_prompts=40, seeds=(7, 8, 9), max_piece_s=600),
}


@dataclass(frozen=True)
class Result:
    """One recording through one system."""

    system: str
    language: str
    set: str
    recording: str
    audio_s: float
    took_s: float
    cpu_s: float
    errors: Errors
    text: str

    @classmethod
    def from_json(cls, line: str) -> Result:
        fields = json.loads(line)
        return cls(**{**fields, "errors": Errors(**fields["errors"])})


def recordings(which: str, language: str, size: Size) -> Iterator[Recording]:
    """What one set holds in one language."""
    if which == "clips":
        yield from clips(language, size.n_clips)
    elif which == "instrumental":
        for piece in music() if language == "en" else ():  # music has no language, and is heard once
            yield Recording(piece.name, language, piece.sound[: round(size.max_piece_s * RATE_HZ)], ())
    else:
        for seed in size.seeds:
            recording = long_recording(language, size.n_prompts, seed)
            yield CHANGES[which](recording) if which in CHANGES else recording


def measure(system: System, which: str, recording: Recording) -> Result:
    """One recording through one system."""
    begin_s, begin_cpu_s = time.monotonic(), system.cpu_s()
    text = system.transcribe(recording)
    return Result(
        system=system.name,
        language=recording.language,
        set=which,
        recording=recording.name,
        audio_s=recording.duration_s,
        took_s=time.monotonic() - begin_s,
        cpu_s=system.cpu_s() - begin_cpu_s,
        errors=errors(recording, text),
        text=text,
    )


def table(results: Sequence[Result]) -> str:
    """A row per set and system, over all languages; WER of each language beside it."""
    languages = [language for language in LANGUAGES if any(result.language == language for result in results)]
    heads = ["set", "system", "WER", *languages, "deletions", "insertions", "sentences lost", "words in music"]
    heads += ["audio per CPU second"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for key in sorted({(result.set, result.system) for result in results}, key=_order):
        mine = [result for result in results if (result.set, result.system) == key]
        total = _sum(mine)
        per_language = (_sum([result for result in mine if result.language == language]) for language in languages)
        rates = [f"{one.rate:.1%}" if one.words else "" for one in (total, *per_language)]
        counts = [str(total.deletions), str(total.insertions), str(total.sentences_lost), ""]
        if not total.words:
            counts = ["", "", "", str(sum(len(normalised(result.text, result.language)) for result in mine))]
        speed = sum(result.audio_s for result in mine) / max(1e-9, sum(result.cpu_s for result in mine))
        lines.append(f"| {' | '.join([*key, *rates, *counts, f'{speed:.1f}'])} |")
    return "\n".join(lines)


def versions() -> str:
    """Of what was compared."""
    names = ("whisper-server", "faster-whisper", "ctranslate2", "onnxruntime")
    return ", ".join(f"{name} {version(name)}" for name in names) + f", openai-whisper {openai_whisper.VERSION}"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small", help="full takes hours, small 25 minutes of one core")
    parser.add_argument("--languages", default=",".join(LANGUAGES))
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument(
        "--systems", default="", help=f"parts of names, between commas; empty: all of {', '.join(SYSTEMS)}"
    )
    parser.add_argument("--threads", type=int, default=2, help="per system; the systems take turns")
    parser.add_argument("--out", type=Path, default=Path("accuracy.jsonl"))
    return parser.parse_args()


def main() -> None:
    args = parsed()
    parts = [part.strip() for part in args.systems.split(",") if part.strip()]
    names = [name for name in SYSTEMS if not parts or any(part in name for part in parts)]
    print(f"{machine()}; {versions()}; Whisper base, {DTYPE} (openai/whisper: float32), {args.threads} threads")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lines = stack.enter_context(args.out.open("a", encoding="utf-8"))
        systems = list(start(names, args.threads, folder, stack))
        for which in args.sets.split(","):
            for language in args.languages.split(","):
                for recording in recordings(which, language, SIZES[args.size]):
                    for system in systems:
                        result = measure(system, which, recording)
                        lines.write(json.dumps(asdict(result), ensure_ascii=False) + "\n")
                        lines.flush()
                        print(f"{system.name}, {language}, {which}, {recording.name}: {result.errors}", file=sys.stderr)
    print(table([Result.from_json(line) for line in args.out.read_text(encoding="utf-8").splitlines()]))


def _sum(results: Sequence[Result]) -> Errors:
    return sum((result.errors for result in results), Errors())


def _order(key: tuple[str, str]) -> tuple[int, int, str]:
    name = next((name for name in SYSTEMS if key[1].startswith(name)), "")
    return SETS.index(key[0]), SYSTEMS.index(name) if name else len(SYSTEMS), key[1]


if __name__ == "__main__":
    main()

"""Word errors on human speech: our server over HTTP, faster-whisper and openai/whisper on the same weights of Whisper base.

Five languages; prompts, recordings of four minutes, the same over music, at −40 dB and 1.8 times as fast; music alone.
A line of JSON per recording and system goes to --out, a Markdown table to the screen.
PYTHONPATH=demo:tests/kit python bench/accuracy.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from faster_whisper import BatchedInferencePipeline, WhisperModel
from figures import machine

from pinned_packages import PackageUnavailable, unpacked
from real_kit import reference
from real_kit.packages import MORE_ITERTOOLS, OPENAI_WHISPER
from real_kit.scores import Errors, errors, normalised
from real_kit.speech import CHANGES, LANGUAGES, RATE_HZ, Recording, clips, long_recording, music, wav
from real_kit.weights import base_checkpoint
from server_kit.api import Api
from server_kit.process import running
from whisper_base import base_ctranslate2

MODEL_RATE_HZ = 16_000
BATCH = 8
DTYPE = "int8"
SETS = ("clips", "long", *CHANGES, "instrumental")
OURS: Mapping[str, Mapping[str, str]] = {
    "ours, json": {"response_format": "json"},
    "ours, verbose_json": {"response_format": "verbose_json"},
    "ours, srt": {"response_format": "srt"},
    "ours, chunking_strategy=auto": {"response_format": "json", "chunking_strategy": "auto"},
}
_CUE_HEAD = re.compile(r"^\d+\n\d\d+:\d\d:\d\d,\d{3} --> .*\n", re.MULTILINE)


@dataclass(frozen=True)
class System:
    """Something that transcribes one recording at a time."""

    name: str
    transcribe: Callable[[Recording], str]


@dataclass(frozen=True)
class Result:
    """One recording through one system."""

    system: str
    language: str
    set: str
    recording: str
    audio_s: float
    took_s: float
    errors: Errors
    text: str


def recordings(which: str, language: str, n_clips: int, seeds: Sequence[int]) -> Iterator[Recording]:
    """What one set holds in one language."""
    if which == "clips":
        yield from clips(language, n_clips)
    elif which == "instrumental":
        yield from music() if language == "en" else ()  # music has no language, and is heard once
    else:
        for seed in seeds:
            recording = long_recording(language, seed=seed)
            yield CHANGES[which](recording) if which in CHANGES else recording


def our_systems(url: str, names: Sequence[str]) -> Iterator[System]:
    """Formats of the running server."""
    api = Api(url)

    def ask(fields: Mapping[str, str], recording: Recording) -> str:
        answer = api.post(wav(recording.sound), language=recording.language, **fields)
        answer.raise_for_status()
        return _CUE_HEAD.sub("", answer.text) if fields["response_format"] == "srt" else str(answer.json()["text"])

    for name, fields in OURS.items():
        if name in names:
            yield System(name, partial(ask, fields))


def faster_whisper_systems(folder: Path, n_threads: int) -> Iterator[System]:
    """faster-whisper with beam 1, as it comes, and batched."""
    model = WhisperModel(str(folder), device="cpu", compute_type=DTYPE, cpu_threads=n_threads)
    batched = BatchedInferencePipeline(model)

    def say(transcribe: Callable[..., Any], options: Mapping[str, int], recording: Recording) -> str:
        segments, _ = transcribe(_samples(recording), language=recording.language, **options)
        return "".join(segment.text for segment in segments)

    yield System("faster-whisper, greedy", partial(say, model.transcribe, {"beam_size": 1}))
    yield System("faster-whisper, default", partial(say, model.transcribe, {}))
    yield System("faster-whisper, batched", partial(say, batched.transcribe, {"batch_size": BATCH, "beam_size": 1}))


def openai_whisper_system(folder: Path) -> System:
    """openai/whisper, float32, greedy. Raises PackageUnavailable."""
    python = reference.find_python()
    if python is None:
        raise PackageUnavailable(
            "openai/whisper: no Python with torch here; `make vllm` installs one, or set TORCH_PYTHON"
        )
    archive = next(unpacked(OPENAI_WHISPER).iterdir())
    checkpoint = base_checkpoint()

    def say(recording: Recording) -> str:
        path = folder / "recording.wav"
        path.write_bytes(wav(recording.sound))
        job = {"wav": str(path), "language": recording.language}
        return str(reference.transcribe(python, checkpoint, [archive, unpacked(MORE_ITERTOOLS)], [job])[0]["text"])

    return System("openai/whisper", say)


def measure(system: System, which: str, recording: Recording) -> Result:
    """One recording through one system."""
    begin_s = time.monotonic()
    text = system.transcribe(recording)
    took_s = time.monotonic() - begin_s
    return Result(
        system.name,
        recording.language,
        which,
        recording.name,
        recording.duration_s,
        took_s,
        errors(recording, text),
        text,
    )


def table(results: Sequence[Result]) -> str:
    """A row per language, set and system."""
    lines = [
        "| language | set | system | WER | deletions | insertions | sentences lost | words in music | RTFx |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for key in dict.fromkeys((result.language, result.set, result.system) for result in results):
        mine = [result for result in results if (result.language, result.set, result.system) == key]
        total = sum((result.errors for result in mine), Errors())
        rtfx = sum(result.audio_s for result in mine) / max(1e-9, sum(result.took_s for result in mine))
        row = [*key, f"{total.rate:.1%}" if total.words else "", str(total.deletions), str(total.insertions)]
        in_music = str(sum(len(normalised(result.text, result.language)) for result in mine if not result.errors.words))
        row += [str(total.sentences_lost), in_music if not total.words else "", f"{rtfx:.1f}"]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def versions() -> str:
    """Of what was compared."""
    names = ("whisper-server", "faster-whisper", "ctranslate2", "onnxruntime")
    return ", ".join(f"{name} {version(name)}" for name in names) + f", openai-whisper {OPENAI_WHISPER.version}"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one long recording in English and French, three systems")
    parser.add_argument("--languages", default=",".join(LANGUAGES))
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", default="7,8,9", help="of the long recordings")
    parser.add_argument("--clips", type=int, default=100, help="prompts per language")
    parser.add_argument("--systems", default="", help="parts of names, between commas; empty: all")
    parser.add_argument("--threads", type=int, default=2, help="per system")
    parser.add_argument("--out", type=Path, default=Path("accuracy.jsonl"))
    args = parser.parse_args()
    if args.quick:
        args.languages, args.sets, args.seeds = "en,fr", "long", "7"
        args.systems = args.systems or "ours json,ours verbose_json,faster-whisper greedy"
    return args


def main() -> None:
    args = parsed()
    wanted = [name.strip() for name in args.systems.split(",") if name.strip()]

    def is_wanted(name: str) -> bool:
        return not wanted or any(part in name.replace(",", "") for part in wanted)

    print(f"{machine()}; {versions()}; Whisper base, {DTYPE}, {args.threads} threads")
    results: list[Result] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = base_ctranslate2()
        systems: list[System] = []
        ours = [name for name in OURS if is_wanted(name)]
        if ours:
            settings = {
                "MODEL_ID": str(model),
                "DTYPE": DTYPE,
                "CPU_THREADS": str(args.threads),
                "ENGINE": "ctranslate2",
            }
            settings |= {"MODEL_CACHE_DIR": str(folder / "cache")}
            systems += our_systems(stack.enter_context(running(settings, folder)).url, ours)
        if any(map(is_wanted, ("faster-whisper greedy", "faster-whisper default", "faster-whisper batched"))):
            peers = faster_whisper_systems(model, args.threads)
            systems += [system for system in peers if is_wanted(system.name.replace(",", ""))]
        if is_wanted("openai/whisper"):
            try:
                systems.append(openai_whisper_system(folder))
            except PackageUnavailable as error:
                print(f"left out: {error}", file=sys.stderr)
        with args.out.open("a", encoding="utf-8") as lines:
            for which in args.sets.split(","):
                for language in args.languages.split(","):
                    for recording in recordings(which, language, args.clips, [int(s) for s in args.seeds.split(",")]):
                        for system in systems:
                            result = measure(system, which, recording)
                            results.append(result)
                            lines.write(json.dumps(asdict(result), ensure_ascii=False) + "\n")
                            lines.flush()
                            print(
                                f"{result.system}, {language}, {which}, {recording.name}: {result.errors}",
                                file=sys.stderr,
                            )
    print(table(results))


def _samples(recording: Recording) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.asarray(soxr.resample(recording.sound, RATE_HZ, MODEL_RATE_HZ), np.float32)


if __name__ == "__main__":
    main()

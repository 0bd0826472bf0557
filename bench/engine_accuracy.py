"""Word errors of long recordings of people on any engine, in process; the recordings are taken to the machine as a file.

For a GPU machine that nothing can be fetched on. The pipeline is the server's, as its settings say, without HTTP and files.

    PYTHONPATH=demo:tests/kit python bench/engine_accuracy.py recordings RECORDINGS.npz --seeds 7,8,9
    ENGINE=vllm MODEL_ID=FOLDER python bench/engine_accuracy.py hear RECORDINGS.npz TEXTS.jsonl
    PYTHONPATH=demo:tests/kit python bench/engine_accuracy.py score TEXTS.jsonl …
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from whisper_server.backend import loaded_model
from whisper_server.settings import Settings
from whisper_server.speech.transcribe import Transcriber
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Options, Samples, VoiceActivity

FORMATS: dict[str, Options] = {
    "json": Options(),
    "verbose_json": Options(timestamps=True),
    "srt": Options(timestamps=True, cues=True),
    "chunking_strategy=auto": Options(voice_activity=VoiceActivity()),
}


def write_recordings(path: Path, languages: list[str], seeds: list[int], n_prompts: int) -> None:
    """Of each seed in each language, as FLAC at the rate of the prompts."""
    from real_kit.speech import RATE_HZ, long_recording

    sounds: dict[str, Any] = {}
    for seed in seeds:
        for language in languages:
            file = io.BytesIO()
            recording = long_recording(language, n_prompts, seed)
            soundfile.write(file, recording.sound, RATE_HZ, format="FLAC", subtype="PCM_16")
            sounds[f"{language}-{seed}-{n_prompts}"] = np.frombuffer(file.getvalue(), np.uint8)
    np.savez(path, **sounds)


def read_recordings(path: Path) -> dict[str, Samples]:
    """By language, seed and number of prompts, at the model's rate."""
    found: dict[str, Samples] = {}
    with np.load(path) as file:
        for name in file.files:
            sound, rate_hz = soundfile.read(io.BytesIO(file[name].tobytes()), dtype="float32")
            found[name] = np.asarray(soxr.resample(sound, rate_hz, SAMPLE_RATE_HZ), np.float32)
    return found


async def hear(recordings: dict[str, Samples], formats: list[str], out: Path) -> None:
    """All recordings at once: their windows share the engine's batches. Appends a line of JSON per text."""
    async with loaded_model(Settings.from_env(os.environ)) as transcriber:
        facts, begin_s = transcriber.engine.facts, time.monotonic()
        for name in formats:
            texts = await asyncio.gather(*(_text(transcriber, one, name) for one in recordings.items()))
            with out.open("a", encoding="utf-8") as file:
                for key, text in zip(recordings, texts, strict=True):
                    system = f"{facts.engine} {facts.dtype}, {name}"
                    file.write(json.dumps({"system": system, "recording": key, "text": text}) + "\n")
            print(
                f"{facts.engine} {facts.dtype} on {facts.device}, {name}: {time.monotonic() - begin_s:.0f} s",
                flush=True,
            )


async def _text(transcriber: Transcriber, recording: tuple[str, Samples], name: str) -> str:
    key, samples = recording
    options = Options(**{**vars(FORMATS[name]), "language": key.partition("-")[0]})
    async with transcriber.transcribe(samples, options) as transcription:
        return (await transcription.transcript()).text


def score(paths: list[Path]) -> None:
    """A row per engine and format: words wrong, deleted, inserted, sentences lost."""
    from real_kit.scores import Errors, errors
    from real_kit.speech import long_recording

    totals: dict[str, Errors] = {}
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            one = json.loads(line)
            language, seed, n_prompts = one["recording"].split("-")
            found = errors(long_recording(language, int(n_prompts), int(seed)), one["text"])
            totals[one["system"]] = totals.get(one["system"], Errors()) + found
    print("| engine | WER | words | deletions | insertions | sentences lost |\n|---|---|---|---|---|---|")
    for system, total in totals.items():
        figures = (f"{total.rate:.2%}", total.words, total.deletions, total.insertions, total.sentences_lost)
        print(f"| {system} | {' | '.join(map(str, figures))} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("recordings", "hear", "score"))
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--seeds", default="7,8,9")
    parser.add_argument("--languages", default="en,es,fr,it,ru")
    parser.add_argument("--prompts", type=int, default=40, help="of a recording: 40 last about four minutes")
    parser.add_argument("--formats", default="json,verbose_json", help=f"of {', '.join(FORMATS)}")
    args = parser.parse_args()
    if args.what == "recordings":
        seeds = [int(seed) for seed in args.seeds.split(",")]
        write_recordings(args.paths[0], args.languages.split(","), seeds, args.prompts)
    elif args.what == "hear":
        asyncio.run(hear(read_recordings(args.paths[0]), args.formats.split(","), args.paths[1]))
    else:
        score(args.paths)


if __name__ == "__main__":
    main()

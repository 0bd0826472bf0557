"""What an engine hears in windows of human speech with Whisper's real weights, and how far from another engine's answers.

    PYTHONPATH=server:tests/kit python bench/engine_answers.py windows WINDOWS.npz [--prompts 1]
    ENGINE=torch DTYPE=half PYTHONPATH=server:tests/kit python bench/engine_answers.py hear WINDOWS.npz MODEL_FOLDER OUT.json
    PYTHONPATH=server:tests/kit python bench/engine_answers.py compare WINDOWS.npz REFERENCE.json OTHER.json …

The windows are made once, so that they can be taken to another machine; the engine's settings are those of the server. With `--mode
text` they are heard without timestamps, with `--mode short` the engine may pad them to less than 30 s then.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from whisper_server.engines.loading import load
from whisper_server.settings import Settings
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.engine_protocol import DecodeRequest, Engine
from whisper_server.whisper.tokens import WhisperTokenizer
from whisper_server.whisper.transcript import Samples, Task

LANGUAGES = ("en", "es", "fr", "it", "ru")
N_PROMPTS = 4
"""In a window, with pauses: about 25 s."""
MAX_WINDOW_S = 30.0
MAX_TIME_DIFFERENCE_S = 0.04


def write_windows(path: Path, n_per_language: int, n_prompts: int) -> None:
    """`n_per_language` windows of each language, as FLAC, with what is said in them."""
    from soxr import resample

    from real_kit.speech import RATE_HZ, long_recording

    sounds: dict[str, Any] = {}
    said: list[dict[str, str]] = []
    for language in LANGUAGES:
        seed = 0
        while sum(one["language"] == language for one in said) < n_per_language:
            seed += 1
            recording = long_recording(language, n=n_prompts, seed=seed)
            if recording.duration_s <= MAX_WINDOW_S:
                file = io.BytesIO()
                sound = resample(recording.sound, RATE_HZ, SAMPLE_RATE_HZ)
                soundfile.write(file, sound, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
                sounds[f"sound{len(said)}"] = np.frombuffer(file.getvalue(), np.uint8)
                said.append({"language": language, "text": " ".join(one.text for one in recording.sentences)})
    np.savez(path, said=np.array(json.dumps(said)), **sounds)


def read_windows(path: Path) -> list[tuple[str, str, Samples]]:
    """(language, text, samples)."""
    with np.load(path) as file:
        said = json.loads(str(file["said"]))
        return [
            (one["language"], one["text"], soundfile.read(io.BytesIO(file[f"sound{n}"].tobytes()), dtype="float32")[0])
            for n, one in enumerate(said)
        ]


async def heard(
    engine: Engine, tokenizer: WhisperTokenizer, language: str, samples: Samples, slots: asyncio.Semaphore, *, mode: str
) -> dict[str, Any]:
    """Tokens at temperature 0, the language, "no speech", and the times of the text's tokens."""
    async with slots:
        window = engine.open_window(samples, timestamps=mode != "short")
        try:
            guess = await window.detect_language()
            timestamps = mode == "timestamps"
            prompt, n_task = tokenizer.prompt_tokens(language, Task.TRANSCRIBE, previous=(), timestamps=timestamps)
            decoded = await window.decode(DecodeRequest(prompt, n_task, 0.0, 1, 224, logprobs=True))
            text_tokens = tuple(tokenizer.text_tokens(decoded.tokens))
            times = await window.align(tokenizer.sot_sequence(language, Task.TRANSCRIBE), text_tokens)
        finally:
            window.close()
    return {
        "language": guess.probabilities[0][0],
        "tokens": decoded.tokens,
        "text": tokenizer.detokenize(text_tokens),
        "no_speech": decoded.no_speech_prob,
        "sum_logprob": decoded.sum_logprob,
        "starts_s": times.token_starts_s,
    }


async def hear(windows: Path, model: Path, mode: str) -> list[dict[str, Any]]:
    """All windows, as many at once as the engine takes."""
    settings = Settings.from_env({**os.environ, "MODEL_ID": str(model)})
    engine, tokenizer = await load(settings)
    facts = engine.facts
    begun_s = time.monotonic()
    try:
        slots = asyncio.Semaphore(engine.facts.n_windows_in_flight)
        answers = await asyncio.gather(
            *(
                heard(engine, tokenizer, language, samples, slots, mode=mode)
                for language, _, samples in read_windows(windows)
            )
        )
    finally:
        await engine.stop()
    print(
        f"{facts.engine} {facts.dtype} on {facts.device}: {len(answers)} windows in {time.monotonic() - begun_s:.1f} s"
    )
    return answers


def compare(windows: Path, reference: Path, others: list[Path]) -> None:
    """Prints a table: the same tokens, the same text, word errors, times."""
    from real_kit.scores import normalised
    from speech_kit.scores import word_errors

    languages = [language for language, _, _ in read_windows(windows)]
    said = [" ".join(normalised(text, language)) for language, text, _ in read_windows(windows)]
    expected = json.loads(reference.read_text(encoding="utf-8"))
    print(
        "| answers | same tokens | same text | WER | starts within 40 ms, where the text is the same | no speech, largest |"
    )
    print("|---|---|---|---|---|---|")
    for path in (reference, *others):
        found = json.loads(path.read_text(encoding="utf-8"))
        pairs = list(zip(expected, found, strict=True))
        alike = [(a, b) for a, b in pairs if a["text"] == b["text"]]
        timed = [(a["starts_s"], b["starts_s"]) for a, b in alike if len(a["starts_s"]) == len(b["starts_s"])]
        apart_s = [abs(x - y) for a, b in timed for x, y in zip(a, b, strict=True)]
        near = statistics.mean(one <= MAX_TIME_DIFFERENCE_S + 1e-6 for one in apart_s) if apart_s else 0
        n_same_tokens = sum(a["tokens"] == b["tokens"] for a, b in pairs)
        texts = [" ".join(normalised(one["text"], language)) for one, language in zip(found, languages, strict=True)]
        rate = word_errors(said, texts).rate
        largest = max(abs(a["no_speech"] - b["no_speech"]) for a, b in pairs)
        print(
            f"| {path.stem} | {n_same_tokens} of {len(pairs)} | {len(alike)} of {len(pairs)} | {rate:.2%} | {near:.2%} "
            f"| {largest:.4f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("windows", "hear", "compare"))
    parser.add_argument("windows", type=Path)
    parser.add_argument("paths", type=Path, nargs="*")
    parser.add_argument("--per-language", type=int, default=10)
    parser.add_argument("--prompts", type=int, default=N_PROMPTS, help="in a window")
    parser.add_argument("--mode", choices=("timestamps", "text", "short"), default="timestamps")
    args = parser.parse_args()
    if args.what == "windows":
        write_windows(args.windows, args.per_language, args.prompts)
    elif args.what == "hear":
        model, out = args.paths
        out.write_text(json.dumps(asyncio.run(hear(args.windows, model, args.mode))), encoding="utf-8")
    else:
        compare(args.windows, args.paths[0], args.paths[1:])


if __name__ == "__main__":
    main()

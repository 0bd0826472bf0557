"""Our server over HTTP with 16 clients beside faster-whisper's batched pipeline in process.

The same model files, compute type, threads and recordings; beam 1, language given, no timestamps, no voice filter, no
ladder on both sides. Rounds alternate in one run, so that whatever else the machine does hits both. On the demo model
and espeak-ng's voice, or with --real on Whisper base and human voices. Run as
`make bench`, or: PYTHONPATH=demo:tests/kit python bench/side_by_side.py [--real]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from faster_whisper import BatchedInferencePipeline, WhisperModel
from figures import machine, process_cpu_s, spread
from load import Clip, make_clips, send_all

from server_kit.process import DEMO_MODEL, ServerProcess, running
from speech_kit.scores import word_errors
from whisper_base import base_ctranslate2
from whisper_server.whisper.constants import SAMPLE_RATE_HZ

WINDOW_S = 30
PROMPT_S = 6
"""A prompt and the pause after it."""
BATCH = 8


@dataclass(frozen=True)
class Round:
    """One side's turn at all recordings."""

    rtfx: float
    per_cpu_s: float
    """Seconds of audio per CPU second."""
    texts: tuple[str, ...]


def real_clips(duration_s: float, n_clips: int) -> list[Clip]:
    """Different recordings of about `duration_s`: English prompts by a human voice."""
    from real_kit.speech import RATE_HZ, long_recording, wav  # brings librosa, 8 s of CPU

    clips = []
    for number in range(n_clips):
        recording = long_recording("en", n=max(1, round(duration_s / PROMPT_S)), seed=number)
        samples = np.asarray(soxr.resample(recording.sound, RATE_HZ, SAMPLE_RATE_HZ), np.float32)
        clips.append(Clip(wav(samples, SAMPLE_RATE_HZ), recording.duration_s, recording.text))
    return clips


def converted(cache: Path, folder: Path) -> Path:
    """The model that the server converted, with two of the checkpoint's files beside it, which faster-whisper wants."""
    for path in next(path.parent for path in cache.rglob("model.bin")).iterdir():
        (folder / path.name).symlink_to(path)
    for name in ("tokenizer.json", "preprocessor_config.json"):
        if not (folder / name).exists():
            (folder / name).symlink_to(DEMO_MODEL / name)
    return folder


def peer(folder: Path, n_threads: int, dtype: str) -> BatchedInferencePipeline:
    model = WhisperModel(str(folder), device="cpu", compute_type=dtype, cpu_threads=n_threads)
    return BatchedInferencePipeline(model)


def ask_peer(pipeline: BatchedInferencePipeline, clips: Sequence[Clip]) -> Round:
    """One recording after the other, the windows of each in batches: more at a time gain it nothing."""
    begin_s, begin_cpu_s = time.monotonic(), time.process_time()
    texts = []
    for clip in clips:
        samples = np.frombuffer(clip.audio[44:], "<i2").astype(np.float32) / 32768
        starts_s = range(0, int(np.ceil(clip.duration_s)), WINDOW_S)
        windows = [{"start": start_s, "end": min(start_s + WINDOW_S, clip.duration_s)} for start_s in starts_s]
        segments, _ = pipeline.transcribe(
            samples,
            language="en",
            beam_size=1,
            temperature=0.0,
            without_timestamps=True,
            vad_filter=False,
            clip_timestamps=windows,
            batch_size=BATCH,
        )
        texts.append("".join(segment.text for segment in segments))
    audio_s = sum(clip.duration_s for clip in clips)
    return Round(audio_s / (time.monotonic() - begin_s), audio_s / (time.process_time() - begin_cpu_s), tuple(texts))


def ask_server(server: ServerProcess, clips: Sequence[Clip], n_clients: int) -> Round:
    begin_cpu_s = sum(map(process_cpu_s, server.family()))
    outcome = asyncio.run(send_all(server.url, clips, n_clients, stream=False))
    cpu_s = sum(map(process_cpu_s, server.family())) - begin_cpu_s
    if outcome.n_failed:
        raise RuntimeError(f"{outcome.n_failed} requests failed")
    text_of = dict(zip(outcome.said, outcome.heard, strict=True))
    texts = tuple(text_of[clip.text] for clip in clips)
    return Round(outcome.audio_s / outcome.wall_s, outcome.audio_s / cpu_s, texts)


def compare(
    server: ServerProcess, pipeline: BatchedInferencePipeline, clips: Sequence[Clip], args: argparse.Namespace
) -> str:
    """One row of the table."""
    ask_peer(pipeline, clips[:2])
    ask_server(server, clips[:2], 2)
    ours, theirs = [], []
    for number in range(args.rounds):
        if number % 2:
            theirs.append(ask_peer(pipeline, clips))
            ours.append(ask_server(server, clips, args.clients))
        else:
            ours.append(ask_server(server, clips, args.clients))
            theirs.append(ask_peer(pipeline, clips))
    ratios = [a.rtfx / b.rtfx for a, b in zip(ours, theirs, strict=True)]
    cpu_ratios = [a.per_cpu_s / b.per_cpu_s for a, b in zip(ours, theirs, strict=True)]
    said = [clip.text for clip in clips]
    errors = [word_errors(said, side[-1].texts).rate for side in (ours, theirs)]
    return (
        f"| {len(clips)} × {np.mean([clip.duration_s for clip in clips]):.1f} s | {spread([r.rtfx for r in ours])} "
        f"| {spread([r.rtfx for r in theirs])} | **{spread(ratios)}** | {spread(cpu_ratios)} | {errors[0]:.1%} | {errors[1]:.1%} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", action="store_true", help="Whisper base and human voices, not the demo model")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", default="5,25,120", help="lengths of recordings, between commas")
    parser.add_argument("--recordings", type=int, default=32, help="how many; a quarter of it where they exceed 60 s")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--dtype", default="int8", help="what both sides compute in; int8 is the server's own choice")
    args = parser.parse_args()
    n_threads = len(os.sched_getaffinity(0))
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "peer").mkdir()
        settings = {
            "MODEL_ID": str(base_ctranslate2() if args.real else DEMO_MODEL),
            "MODEL_CACHE_DIR": str(folder / "cache"),
            "CPU_THREADS": str(n_threads),
            "DTYPE": args.dtype,
            "MAX_BATCH_WINDOWS": str(BATCH),
            "BEAM_SIZE": "1",
            "TIMESTAMPS": "none",
            "FALLBACK_TEMPERATURES": "0",
        }
        with running(settings, folder / "server") as server:
            model = base_ctranslate2() if args.real else converted(folder / "cache", folder / "peer")
            pipeline = peer(model, n_threads, args.dtype)
            print(
                f"{'Whisper base' if args.real else 'demo model'}, {args.dtype}, {n_threads} threads, batches of {BATCH}, {args.clients} clients"
            )
            heads = ["recordings", "server RTFx", "faster-whisper RTFx", "ratio", "ratio per CPU second"]
            heads += ["server WER", "faster-whisper WER"]
            print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
            for duration_s in map(float, args.seconds.split(",")):
                n_clips = args.recordings if duration_s <= 60 else args.recordings // 4
                clips = (real_clips if args.real else make_clips)(duration_s, n_clips)
                print(compare(server, pipeline, clips, args), flush=True)


if __name__ == "__main__":
    main()

"""Our server over HTTP with 16 clients beside faster-whisper's batched pipeline in process.

The same model files, compute type, threads and recordings; beam 1, language given, no timestamps, no voice filter, no
ladder on both sides. Rounds alternate in one run, so that whatever else the machine does hits both. Run as
`make bench`, or: PYTHONPATH=tests/kit python bench/side_by_side.py
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
from faster_whisper import BatchedInferencePipeline, WhisperModel
from figures import machine, spread
from load import Clip, make_clips, send_all

from server_kit.process import DEMO_MODEL, running
from speech_kit.scores import word_errors

WINDOW_S = 30
BATCH = 8


@dataclass(frozen=True)
class Round:
    """One side's turn at all recordings."""

    rtfx: float
    texts: tuple[str, ...]


def peer(cache: Path, folder: Path, n_threads: int, dtype: str) -> BatchedInferencePipeline:
    """faster-whisper on the model that the server converted; it wants two of the checkpoint's files beside it."""
    converted = next(path.parent for path in cache.rglob("model.bin"))
    for path in converted.iterdir():
        (folder / path.name).symlink_to(path)
    for name in ("tokenizer.json", "preprocessor_config.json"):
        if not (folder / name).exists():
            (folder / name).symlink_to(DEMO_MODEL / name)
    model = WhisperModel(str(folder), device="cpu", compute_type=dtype, cpu_threads=n_threads)
    return BatchedInferencePipeline(model)


def ask_peer(pipeline: BatchedInferencePipeline, clips: Sequence[Clip]) -> Round:
    """One recording after the other, the windows of each in batches: more at a time gain it nothing."""
    begin_s = time.monotonic()
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
    return Round(sum(clip.duration_s for clip in clips) / (time.monotonic() - begin_s), tuple(texts))


def ask_server(url: str, clips: Sequence[Clip], n_clients: int) -> Round:
    outcome = asyncio.run(send_all(url, clips, n_clients, stream=False))
    if outcome.n_failed:
        raise RuntimeError(f"{outcome.n_failed} requests failed")
    text_of = dict(zip(outcome.said, outcome.heard, strict=True))
    return Round(outcome.audio_s / outcome.wall_s, tuple(text_of[clip.text] for clip in clips))


def compare(url: str, pipeline: BatchedInferencePipeline, clips: Sequence[Clip], args: argparse.Namespace) -> str:
    """One row of the table."""
    ask_peer(pipeline, clips[:2])
    ask_server(url, clips[:2], 2)
    ours, theirs = [], []
    for number in range(args.rounds):
        if number % 2:
            theirs.append(ask_peer(pipeline, clips))
            ours.append(ask_server(url, clips, args.clients))
        else:
            ours.append(ask_server(url, clips, args.clients))
            theirs.append(ask_peer(pipeline, clips))
    ratios = [a.rtfx / b.rtfx for a, b in zip(ours, theirs, strict=True)]
    said = [clip.text for clip in clips]
    errors = [word_errors(said, side[-1].texts).rate for side in (ours, theirs)]
    return (
        f"| {len(clips)} × {np.mean([clip.duration_s for clip in clips]):.1f} s | {spread([r.rtfx for r in ours])} "
        f"| {spread([r.rtfx for r in theirs])} | **{spread(ratios)}** | {errors[0]:.1%} | {errors[1]:.1%} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
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
            "MODEL_CACHE_DIR": str(folder / "cache"),
            "CPU_THREADS": str(n_threads),
            "DTYPE": args.dtype,
            "MAX_BATCH_WINDOWS": str(BATCH),
            "BEAM_SIZE": "1",
            "TIMESTAMPS": "none",
            "FALLBACK_TEMPERATURES": "0",
        }
        with running(settings, folder / "server") as server:
            pipeline = peer(folder / "cache", folder / "peer", n_threads, args.dtype)
            print(
                f"{args.dtype}, {n_threads} threads, batches of {BATCH}, {args.clients} clients, {args.rounds} rounds"
            )
            print("| recordings | server RTFx | faster-whisper RTFx | ratio | server WER | faster-whisper WER |")
            print("|---|---|---|---|---|---|")
            for duration_s in map(float, args.seconds.split(",")):
                n_clips = args.recordings if duration_s <= 60 else args.recordings // 4
                print(compare(server.url, pipeline, make_clips(duration_s, n_clips), args), flush=True)


if __name__ == "__main__":
    main()

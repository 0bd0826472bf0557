"""The torch engine alone on this machine's device, without HTTP: start, windows per second, step and encoder times.

    PYTHONPATH=server python bench/torch_engine.py demo turbo large-v3 --work /tmp/work --out OUT_FOLDER

`demo`, `turbo-demo` and `large-v3-demo` print what the demo model's weights hear in the demo clip; the others have weights of a real
shape that decode 100 tokens a window (gpu_checkpoint.py), or fewer with --tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import subprocess
import sys
import time
import wave
from pathlib import Path
from typing import Any

import numpy as np

from whisper_runtime.choices import DType
from whisper_server.engines.gpu.model_files import read_model_files
from whisper_server.engines.torch.engine import TorchConfig, TorchEngine
from whisper_server.whisper.engine_protocol import DecodeRequest
from whisper_server.whisper.transcript import Samples, Task

ROOT = Path(__file__).parents[1]


def checkpoint(shape: str, work: Path) -> Path:
    if shape == "demo":
        return ROOT / "models" / "whisper-demo"
    folder = work / shape
    if not (folder / "model.safetensors").exists():
        subprocess.run(
            [sys.executable, str(Path(__file__).with_name("gpu_checkpoint.py")), shape, str(folder)], check=True
        )
    return folder


async def measure(shape: str, args: argparse.Namespace) -> dict[str, Any]:
    files = read_model_files(checkpoint(shape, args.work))
    fp8 = {"fp8_encoder": args.fp8, "fp8_cache": args.fp8}
    engine = TorchEngine(TorchConfig(shape, files, dtype=DType(args.dtype), memory_utilization=0.9, n_threads=0, **fp8))
    begun_s = time.monotonic()
    await engine.start()
    figures: dict[str, Any] = {"shape": shape, "fp8": args.fp8, "start_s": round(time.monotonic() - begun_s, 1)}
    figures |= {"device": engine.facts.device, "dtype": engine.facts.dtype, "n_slots": engine.facts.n_windows_in_flight}
    try:
        if shape.endswith("demo"):
            figures["text"] = await hear_clip(engine)
        else:
            figures |= await throughput(engine, args)
    finally:
        await engine.stop()
    return figures


async def hear_clip(engine: TorchEngine) -> dict[str, Any]:
    with wave.open(str(ROOT / "demo" / "clip.wav")) as file:
        rate_hz = file.getframerate()
        recorded = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768
    at = np.arange(0, len(recorded), rate_hz / 16_000)
    samples: Samples = np.interp(at, np.arange(len(recorded)), recorded).astype(np.float32)
    tokenizer = engine.files.tokenizer
    heard: dict[str, Any] = {}
    for temperature in (0.0, 0.6):
        window = engine.open_window(samples)
        guess = await window.detect_language()
        prompt, n_task = tokenizer.prompt_tokens("en", Task.TRANSCRIBE, previous=(), timestamps=True)
        decoded = await window.decode(DecodeRequest(prompt, n_task, temperature, 1, 224, logprobs=True))
        text_tokens = tokenizer.text_tokens(decoded.tokens)
        alignment = await window.align(tokenizer.sot_sequence("en", Task.TRANSCRIBE), tuple(text_tokens))
        window.close()
        heard[str(temperature)] = {
            "language": guess.probabilities[0],
            "text": tokenizer.decode_text(decoded.tokens)
            if hasattr(tokenizer, "decode_text")
            else tokenizer.detokenize(decoded.tokens),
            "no_speech": round(decoded.no_speech_prob, 4),
            "logprob": round(decoded.sum_logprob, 3),
            "starts_s": alignment.token_starts_s[:6],
        }
    return heard


async def throughput(engine: TorchEngine, args: argparse.Namespace) -> dict[str, Any]:
    n_windows = args.windows
    rng = np.random.default_rng(0)
    sounds = [rng.normal(scale=0.1, size=480_000).astype(np.float32) for _ in range(8)]
    prompt, n_task = engine.files.tokenizer.prompt_tokens("en", Task.TRANSCRIBE, previous=(), timestamps=False)
    request = DecodeRequest(prompt, n_task, 0.0, 1, args.tokens, logprobs=False)
    slots = asyncio.Semaphore(engine.facts.n_windows_in_flight)
    n_tokens: list[int] = []

    async def one(samples: Samples, *, align: bool = False) -> None:
        async with slots:
            window = engine.open_window(samples)
            try:
                decoded = await window.decode(request)
                n_tokens.append(len(decoded.tokens))
                if align:
                    tokenizer = engine.files.tokenizer
                    await window.align(
                        tokenizer.sot_sequence("en", Task.TRANSCRIBE), tuple(tokenizer.text_tokens(decoded.tokens))
                    )
            finally:
                window.close()

    async def many(count: int, *, align: bool = False) -> float:
        begun_s = time.monotonic()
        await asyncio.gather(*(one(sounds[index % 8], align=align) for index in range(count)))
        return time.monotonic() - begun_s

    alone = [await many(1) for _ in range(5)]
    await many(n_windows // 2)
    n_tokens.clear()
    took_s = [await many(n_windows) for _ in range(3)]
    aligned_s = await many(n_windows, align=True)
    return {
        "tokens_per_window": statistics.mean(n_tokens),
        "windows_per_s": [round(n_windows / one, 1) for one in took_s],
        "rtfx": [round(30 * n_windows / one) for one in took_s],
        "rtfx_aligned": round(30 * n_windows / aligned_s),
        "alone_s": [round(one, 3) for one in alone],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shapes", nargs="+")
    parser.add_argument("--work", type=Path, default=Path("/tmp/whisper-bench"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--tokens", type=int, default=100, help="per window, at most")
    parser.add_argument(
        "--fp8", action="store_true", help="matrix products of the encoder and the cross-attention cache"
    )
    parser.add_argument("--windows", type=int, default=2048)
    args = parser.parse_args()
    results = []
    for shape in args.shapes:
        results.append(asyncio.run(measure(shape, args)) | {"python": platform.python_version()})
        print(json.dumps(results[-1]), flush=True)
    if args.out:
        (args.out / "torch-engine.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()

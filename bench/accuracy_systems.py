"""What `accuracy` compares: our server over HTTP in four formats, three ways of faster-whisper, openai/whisper itself.

All load the same weights of Whisper base. Each transcribes one recording at a time and knows the CPU seconds it has used.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from faster_whisper import BatchedInferencePipeline, WhisperModel
from figures import process_cpu_s
from openai_whisper import OpenAiWhisper

from real_kit.speech import RATE_HZ, Recording, wav
from real_kit.weights import base_checkpoint
from server_kit.api import Api
from server_kit.process import ServerProcess, running
from whisper_base import base_ctranslate2
from whisper_server.whisper.constants import SAMPLE_RATE_HZ

BATCH = 8
DTYPE = "int8"
OURS: Mapping[str, Mapping[str, str]] = {
    "ours json": {"response_format": "json"},
    "ours verbose_json": {"response_format": "verbose_json"},
    "ours srt": {"response_format": "srt"},
    "ours chunking_strategy=auto": {"response_format": "json", "chunking_strategy": "auto"},
}
PEERS: Mapping[str, Mapping[str, int]] = {
    "faster-whisper greedy": {"beam_size": 1},
    "faster-whisper default": {},
    "faster-whisper batched": {"batch_size": BATCH, "beam_size": 1},
}
REFERENCE = "openai/whisper"
SYSTEMS = (*OURS, *PEERS, REFERENCE)
_CUE_HEAD = re.compile(r"^\d+\n\d\d+:\d\d:\d\d,\d{3} --> .*\n", re.MULTILINE)


@dataclass(frozen=True)
class System:
    """Something that transcribes one recording at a time."""

    name: str
    transcribe: Callable[[Recording], str]
    cpu_s: Callable[[], float]
    """CPU seconds that it has used so far, its child processes included."""


def start(names: Sequence[str], n_threads: int, folder: Path, stack: ExitStack) -> Iterator[System]:
    """The systems of these names; `stack` ends them, `folder` takes their files. Raises PackageUnavailable."""
    if ours := [name for name in names if name in OURS]:
        settings = {"MODEL_ID": str(base_ctranslate2()), "DTYPE": DTYPE, "CPU_THREADS": str(n_threads)}
        settings |= {"ENGINE": "ctranslate2", "MODEL_CACHE_DIR": str(folder / "cache")}
        yield from _our_systems(stack.enter_context(running(settings, folder)), ours)
    if peers := [name for name in names if name in PEERS]:
        yield from _faster_whisper_systems(base_ctranslate2(), n_threads, peers)
    if REFERENCE in names:
        peer = stack.enter_context(OpenAiWhisper(base_checkpoint(), n_threads))
        yield System(REFERENCE, partial(_ask_reference, peer), peer.cpu_s)


def _our_systems(server: ServerProcess, names: Sequence[str]) -> Iterator[System]:
    api = Api(server.url)

    def ask(fields: Mapping[str, str], recording: Recording) -> str:
        answer = api.post(wav(recording.sound), language=recording.language, **fields)
        answer.raise_for_status()
        return _CUE_HEAD.sub("", answer.text) if fields["response_format"] == "srt" else str(answer.json()["text"])

    def cpu_s() -> float:
        return sum(process_cpu_s(process) for process in server.family())

    for name in names:
        yield System(name, partial(ask, OURS[name]), cpu_s)


def _faster_whisper_systems(folder: Path, n_threads: int, names: Sequence[str]) -> Iterator[System]:
    model = WhisperModel(str(folder), device="cpu", compute_type=DTYPE, cpu_threads=n_threads)
    batched = BatchedInferencePipeline(model)

    def ask(transcribe: Callable[..., Any], options: Mapping[str, int], recording: Recording) -> str:
        segments, _ = transcribe(_samples(recording), language=recording.language, **options)
        return "".join(segment.text for segment in segments)

    for name in names:
        transcribe = batched.transcribe if "batch_size" in PEERS[name] else model.transcribe
        yield System(name, partial(ask, transcribe, PEERS[name]), time.process_time)


def _ask_reference(peer: OpenAiWhisper, recording: Recording) -> str:
    return str(peer.transcribe(_samples(recording), options={"language": recording.language})["text"])


def _samples(recording: Recording) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.asarray(soxr.resample(recording.sound, RATE_HZ, SAMPLE_RATE_HZ), np.float32)

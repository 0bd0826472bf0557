"""The systems of `accuracy_cores` in one process, each loaded at its first recording and kept."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import soxr
from accuracy import Result
from accuracy_cores_plan import CONTEXT, FLOAT32, NO_CONTEXT, NO_TIMES, REFERENCE, UNPADDED, Task
from accuracy_systems import PEERS
from faster_whisper import BatchedInferencePipeline, WhisperModel
from openai_whisper import OpenAiWhisper
from our_pipeline import OurPipeline

from real_kit.scores import errors
from real_kit.speech import CHANGES, RATE_HZ, Recording, clips, long_recording, music
from real_kit.weights import base_checkpoint
from whisper_base import base_ctranslate2
from whisper_server.settings import Settings
from whisper_server.whisper.constants import N_MEL_FRAMES, SAMPLE_RATE_HZ
from whisper_server.whisper.mel import padded_mel_frames
from whisper_server.whisper.transcript import Options, Samples, VoiceActivity

OURS: dict[str, Options] = {
    "ours json": Options(),
    "ours verbose_json": Options(timestamps=True),
    "ours srt": Options(timestamps=True, cues=True),
    "ours chunking_strategy=auto": Options(voice_activity=VoiceActivity()),
}


class Systems:
    """A context manager: leaving it ends what was started."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._loaded: dict[tuple[str, ...], Any] = {}

    def __enter__(self) -> Self:
        self._runner = asyncio.Runner()
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()

    def hear(self, system: str, samples: Samples, language: str) -> str:
        """The text of one recording."""
        name, dtype = (system.removesuffix(FLOAT32), "float32") if system.endswith(FLOAT32) else (system, "int8")
        if name == REFERENCE:
            return str(self._reference().transcribe(samples, options={"language": language})["text"])
        if name.startswith("ours"):
            pipeline = self._pipeline(dtype, is_padded=not name.endswith(UNPADDED))
            options = replace(
                OURS[name.removesuffix(UNPADDED).removesuffix(CONTEXT)],
                language=language,
                condition_on_previous_text=name.endswith(CONTEXT) or None,
            )
            return self._runner.run(pipeline.transcript(samples, options)).text
        return self._faster_whisper(name, dtype, samples, language)

    def _pipeline(self, dtype: str, *, is_padded: bool) -> OurPipeline:
        key = ("ours", dtype, str(is_padded))
        if key not in self._loaded:
            frames = padded_mel_frames if is_padded else lambda _: N_MEL_FRAMES
            cache_folder = Path(tempfile.mkdtemp())
            temperatures = Settings.from_env({"MODEL_ID": str(base_ctranslate2())}).fallback_temperatures
            pipeline = OurPipeline(
                base_ctranslate2(), cache_folder, 1, frames, dtype=dtype, fallback_temperatures=temperatures
            )
            self._loaded[key] = self._runner.run(self._stack.enter_async_context(pipeline))
        loaded: OurPipeline = self._loaded[key]
        return loaded

    def _faster_whisper(self, name: str, dtype: str, samples: Samples, language: str) -> str:
        key = ("faster-whisper", dtype)
        if key not in self._loaded:
            model = WhisperModel(str(base_ctranslate2()), device="cpu", compute_type=dtype, cpu_threads=1)
            self._loaded[key] = model, BatchedInferencePipeline(model)
        model, batched = self._loaded[key]
        options: dict[str, Any] = dict(PEERS[name.removesuffix(NO_TIMES).removesuffix(NO_CONTEXT)])
        transcribe = batched.transcribe if "batch_size" in options else model.transcribe
        if name.endswith(NO_TIMES):
            options["without_timestamps"] = True
        if name.endswith(NO_CONTEXT):
            options["condition_on_previous_text"] = False
        segments, _ = transcribe(samples, language=language, **options)
        return "".join(segment.text for segment in segments)

    def _reference(self) -> OpenAiWhisper:
        if (REFERENCE,) not in self._loaded:
            self._loaded[REFERENCE,] = self._stack.enter_context(OpenAiWhisper(base_checkpoint(), 1))
        loaded: OpenAiWhisper = self._loaded[REFERENCE,]
        return loaded


def measure(systems: Systems, task: Task) -> Iterator[Result]:
    """Its recordings, one after the other."""
    for recording in _recordings(task):
        yield _measure(systems, task, recording)


def _measure(systems: Systems, task: Task, recording: Recording) -> Result:
    samples = np.asarray(soxr.resample(recording.sound, RATE_HZ, SAMPLE_RATE_HZ), np.float32)
    begin_s, begin_cpu_s = time.monotonic(), time.process_time()
    text = systems.hear(task.system, samples, task.language)
    return Result(
        system=task.system,
        language=task.language,
        set=task.set,
        recording=recording.name,
        audio_s=recording.duration_s,
        took_s=time.monotonic() - begin_s,
        cpu_s=time.process_time() - begin_cpu_s,
        errors=errors(recording, text),
        text=text,
    )


def _recordings(task: Task) -> Iterator[Recording]:
    if task.set == "clips":
        yield from _clips(task.language)[task.first : task.first + task.n]
    elif task.set == "instrumental":
        yield music()[task.first]
    else:
        recording = long_recording(task.language, task.n, task.first)
        yield CHANGES[task.set](recording) if task.set in CHANGES else recording


@cache
def _clips(language: str) -> tuple[Recording, ...]:
    return clips(language, 1000)

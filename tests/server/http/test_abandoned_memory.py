"""A recording's memory ends with its request, at whatever stage its client hangs up, without the garbage collector.

`SOAK_HANG_UPS` sets the number of hang-ups; `make soak` takes 500.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest

from http_kit.running import Running, form_body, post_head, running, until
from live_kit.doubles import LiveSpeechDouble
from model_kit.engine_double import EngineDouble, VoiceDetectorDouble
from model_kit.pipeline import numbered, pipeline, spans
from whisper_server.audio.decoded_audio import DecodedAudio
from whisper_server.audio.memory_file import MemoryFile, seal
from whisper_server.errors import InternalError
from whisper_server.memory.budget import Reservation
from whisper_server.service import Backend
from whisper_server.speech.transcribe import Transcriber
from whisper_server.whisper.engine_protocol import Decoded, DecodeRequest
from whisper_server.whisper.transcript import Samples

N_HANG_UPS = int(os.environ.get("SOAK_HANG_UPS", "60"))
N_WINDOWS = 40
N_SAMPLES = N_WINDOWS * 16_000
FIELDS = {"chunking_strategy": "auto"}
"""Voice activity of the double: one window per second."""


@dataclass
class MappingDecoder:
    """Decodes every file to a sealed memory file of zeros, as the decoding processes do."""

    hold: asyncio.Event | None = None
    n_calls: int = 0

    async def read_audio(
        self, source: MemoryFile, reservation: Reservation, owner: str = "", channel: int | None = None
    ) -> DecodedAudio:
        self.n_calls += 1
        if self.hold is not None:
            await self.hold.wait()
        with MemoryFile.create("samples") as file:
            assert reservation.grow(4 * N_SAMPLES)
            for number in range(N_WINDOWS):
                window = np.full(16_000, number / 1000, np.float32)
                file.write(window.tobytes())
            await asyncio.to_thread(seal, file.fileno())
            return DecodedAudio.map(file, N_SAMPLES, reservation)

    def queued_audio_s(self) -> float:
        return 0.0

    def estimated_wait_s(self, owner: str) -> float:
        return 0.0


@dataclass
class Parts:
    """A server with the real pipeline over a double of the engine."""

    engine: EngineDouble = field(default_factory=lambda: EngineDouble(numbered, n_slots=4))
    decoder: MappingDecoder = field(default_factory=MappingDecoder)

    def __post_init__(self) -> None:
        self.pipeline: Transcriber = pipeline(self.engine, VoiceDetectorDouble(spans=spans(N_WINDOWS)))
        self.held = asyncio.Event()


@asynccontextmanager
async def serving(parts: Parts) -> AsyncIterator[Running]:
    async with running(loaded=False) as server:
        server.service.load(Backend(parts.engine, parts.pipeline, parts.decoder, LiveSpeechDouble()))
        yield server


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def n_mappings() -> int:
    return Path("/proc/self/maps").read_text().count("memfd:samples")


def memory_files() -> set[tuple[str, int]]:
    """By inode: a decoder pool that other tests of this process share holds some as well."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor of this listing
            found.add((str(link.readlink()), link.stat().st_ino))
    return {(name, inode) for name, inode in found if "memfd:" in name}


def uploading(server: Running, parts: Parts) -> bool:
    return server.state.budget.used_bytes > 0


def decoding(server: Running, parts: Parts) -> bool:
    return parts.decoder.n_calls > 0


def transcribing(server: Running, parts: Parts) -> bool:
    return parts.engine.n_open > 0 and parts.pipeline.wait_estimator.n_open > 10


def hold(parts: Parts, window: int) -> None:
    """Windows from number `window` on wait."""
    parts.engine.hold = lambda samples: parts.held if round(float(samples[0]) * 1000) >= window else None


async def hang_up(server: Running, parts: Parts, stage: str, *, stream: bool) -> None:
    body = form_body(
        FIELDS | {"language": "en" if stage != "detecting" else ""} | ({"stream": "true"} if stream else {})
    )
    sent = body if stage != "uploading" else body[:-20]
    parts.decoder.n_calls, parts.decoder.hold = 0, parts.held if stage == "decoding" else None
    hold(parts, 0 if stage in {"waiting", "detecting"} else 6)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(post_head(Content_Length=len(body)) + sent)
    reached = {"uploading": uploading, "decoding": decoding}.get(stage, transcribing)
    if stage == "streaming" and stream:
        await reader.readuntil(b"data: ")
    await until(lambda: reached(server, parts))
    writer.transport.abort()
    await until(lambda: not server.http.in_flight)
    parts.engine.decoded_windows.clear()  # the double keeps what it has seen


@pytest.mark.parametrize("stage", ["uploading", "decoding", "detecting", "waiting", "streaming"])
async def test_hang_up_frees_the_recording(stage: str) -> None:
    parts = Parts()
    before = memory_files()
    async with serving(parts) as server:
        for number in range(3):
            await hang_up(server, parts, stage, stream=bool(number % 2) or stage == "streaming")
        await until(lambda: not n_mappings(), 5)
        assert memory_files() <= before
        assert server.state.budget.used_bytes == 0
        assert not parts.pipeline.transcriptions


async def test_failed_window_frees_the_recording() -> None:
    def failing(samples: Samples, request: DecodeRequest) -> Decoded:
        if round(float(samples[0]) * 1000) == 7:
            raise InternalError("the engine failed")
        return numbered(samples, request)

    parts = Parts(engine=EngineDouble(failing))
    body = form_body(FIELDS)
    async with serving(parts) as server:
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(post_head(Content_Length=len(body)) + body)
            assert b" 500 " in await reader.readline()
            writer.close()
        parts.engine.decoded_windows.clear()  # the double keeps what it has seen
        await until(lambda: not n_mappings(), 5)
        assert server.state.budget.used_bytes == 0


async def test_budget_counts_a_recording_until_it_is_unmapped() -> None:
    parts = Parts()
    n_before = n_mappings()
    async with serving(parts) as server:
        reservation = server.state.budget.reservation()
        with MemoryFile.create("upload") as source:
            audio = await parts.decoder.read_audio(source, reservation)
        kept = audio.samples[:100]
        audio.close()
        assert server.state.budget.used_bytes == 4 * N_SAMPLES
        assert n_mappings() == n_before + 1
        del kept
        assert server.state.budget.used_bytes == 0
        assert n_mappings() == n_before


async def test_many_hang_ups_keep_memory_flat() -> None:
    parts = Parts()
    stages = ["uploading", "decoding", "detecting", "waiting", "streaming"]
    before = memory_files()
    async with serving(parts) as server:
        for number in range(20):
            await hang_up(server, parts, stages[number % 5], stream=number % 2 == 0)
        rss = psutil.Process().memory_info().rss
        for number in range(N_HANG_UPS):
            await hang_up(server, parts, stages[number % 5], stream=number % 2 == 0)
        await until(lambda: not n_mappings(), 5)
        assert memory_files() <= before
        assert server.state.budget.used_bytes == 0
        assert psutil.Process().memory_info().rss < 1.05 * rss

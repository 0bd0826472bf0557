"""An hour of one session, and 500 sessions that come and go in mid-turn: what stays in memory. By a double of the model.

On a clock of its own (`live_ticks`), so an hour takes a minute. Speech is turns of 1 to 40 s with pauses of 0.3 to 3 s, by a seed.
PYTHONPATH=server:runtime:demo:tests/kit python bench/live_hour.py
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Iterator

import numpy as np
import psutil
from figures import machine
from live_ticks import TickingLoop

from live_kit.doubles import LiveSpeechDouble
from whisper_server.api.realtime_client_events import AppendAudio
from whisper_server.api.realtime_server_events import ServerEvent, TranscriptCompleted, TranscriptDelta
from whisper_server.api.realtime_session import SessionConfig
from whisper_server.live.session import Session, SessionHooks
from whisper_server.live.session_options import SessionRules

CHUNK_S = 0.1
HOUR_S = 3600
N_DROPS = 500


class Heard:
    """Counts events; keeps none."""

    def __init__(self) -> None:
        self.n_deltas = 0
        self.n_completed = 0

    def emit(self, event: ServerEvent) -> None:
        self.n_deltas += isinstance(event, TranscriptDelta)
        self.n_completed += isinstance(event, TranscriptCompleted)


def sound(seed: int) -> Iterator[bytes]:
    """Without end, CHUNK_S at a time."""
    rng = random.Random(seed)
    loud = np.full(int(24_000 * CHUNK_S), 16_000, "<i2").tobytes()
    while True:
        yield from [loud] * int(rng.uniform(1, 40) / CHUNK_S)
        yield from [bytes(len(loud))] * int(rng.uniform(0.3, 3) / CHUNK_S)


async def speak(duration_s: float, heard: Heard, seed: int, *, report_s: float = 1e9) -> None:
    """One session, which ends without a word."""
    loop, double = asyncio.get_running_loop(), LiveSpeechDouble()
    held: list[int] = []

    async def count(_audio_s: float, n_bytes: int) -> None:
        held.append(n_bytes)

    hooks = SessionHooks(heard.emit, count, lambda _s: None)
    session = Session("bench", SessionConfig(), double, SessionRules(()), hooks, owner="", clock=loop.time)
    passes = asyncio.create_task(session.run())
    chunks = sound(seed)
    for number in range(int(duration_s / CHUNK_S)):
        await asyncio.sleep(CHUNK_S)
        await session.take(AppendAudio(next(chunks)))
        if number and number % int(report_s / CHUNK_S) == 0:
            print(
                f"| {number * CHUNK_S / 60:.0f} min | {rss_mib():.0f} | {max(held) / 2**20:.1f} | {heard.n_completed} |"
            )
            held.clear()
            for notes in (double.requests, double.turns, double.n_samples):
                notes.clear()
    passes.cancel()
    await asyncio.gather(passes, return_exceptions=True)


def rss_mib() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss) / 2**20


async def measured() -> None:
    print(machine())
    print("| after | RSS MiB | most sound held, MiB | turns |\n|---|---|---|---|")
    await speak(HOUR_S + 1, Heard(), 7, report_s=600)
    print("| sessions dropped in mid-turn | RSS MiB | tasks left |\n|---|---|---|")
    for first in range(0, N_DROPS, 50):
        await asyncio.gather(*(speak(2 + number % 7, Heard(), number) for number in range(first, first + 50)))
        if (first + 50) % 100 == 0:
            print(f"| {first + 50} | {rss_mib():.0f} | {len(asyncio.all_tasks()) - 1} |")


if __name__ == "__main__":
    TickingLoop().run_until_complete(measured())

"""Load over HTTP: so many clients at a time, recordings of so many seconds; throughput and latencies.

Starts a server of its own on the demo model, or takes --url. Another process asks /health all the while. Run as
`make bench`, or: PYTHONPATH=tests/kit python bench/load.py --clients 1,16,64 --seconds 5,60
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from figures import latencies, machine, quantile

from server_kit.process import running
from speech_kit.espeak import Utterance
from speech_kit.recordings import join
from speech_kit.scores import word_errors
from speech_kit.sentences import sentences, spoken
from speech_kit.sounds import wav

HEALTH_EVERY_S = 0.02


@dataclass(frozen=True)
class Clip:
    """A recording to send, and what is said in it."""

    audio: bytes
    duration_s: float
    text: str


@dataclass
class Outcome:
    """What came of one run."""

    wall_s: float = 0.0
    audio_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    first_events_s: list[float] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    n_failed: int = 0


def make_clips(duration_s: float, n_clips: int) -> list[Clip]:
    """Different recordings of about `duration_s`: English sentences, the last pause filled up or cut."""
    n_sentences = len(sentences("en"))
    clips = []
    for number in range(n_clips):
        order = (spoken("en", (7 * number + index) % n_sentences) for index in itertools.count())
        chosen: list[Utterance] = []
        while not chosen or sum(u.duration_s + 0.8 for u in chosen) < duration_s - 2:
            chosen.append(next(order))
        recording = join(chosen, pause_s=(0.3, 0.9), lead_in_s=0.2, seed=number)
        clips.append(Clip(wav(recording.samples), recording.duration_s, recording.text))
    return clips


async def send_all(url: str, clips: Sequence[Clip], n_clients: int, *, stream: bool) -> Outcome:
    """Every clip once, `n_clients` at a time."""
    outcome = Outcome(audio_s=sum(clip.duration_s for clip in clips))
    waiting = iter(clips)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:

        async def client() -> None:
            for clip in waiting:
                await _send(session, url, clip, outcome, stream=stream)

        begin_s = time.monotonic()
        await asyncio.gather(*(client() for _ in range(n_clients)))
        outcome.wall_s = time.monotonic() - begin_s
    return outcome


async def _send(session: aiohttp.ClientSession, url: str, clip: Clip, outcome: Outcome, *, stream: bool) -> None:
    form = aiohttp.FormData({"model": "whisper-1", "language": "en", "stream": "true" if stream else "false"})
    form.add_field("file", clip.audio, filename="clip.wav")
    begin_s = time.monotonic()
    async with session.post(f"{url}/v1/audio/transcriptions", data=form) as answer:
        if answer.status != 200:
            outcome.n_failed += 1
            print(answer.status, (await answer.text())[:300], file=sys.stderr)
            return
        if stream:
            await answer.content.readuntil(b"\n\n")
            outcome.first_events_s.append(time.monotonic() - begin_s)
            events = (await answer.read()).decode().strip().split("\n\n")
            text = json.loads(events[-1].removeprefix("data: "))["text"]
        else:
            text = (await answer.json())["text"]
    outcome.latencies_s.append(time.monotonic() - begin_s)
    outcome.said.append(clip.text)
    outcome.heard.append(text)


async def watch_health(url: str, ended: asyncio.Event) -> list[float]:
    """Seconds that each answer of /health took."""
    taken_s: list[float] = []
    async with aiohttp.ClientSession() as session:
        while not ended.is_set():
            begin_s = time.monotonic()
            async with session.get(f"{url}/health") as answer:
                await answer.read()
            taken_s.append(time.monotonic() - begin_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), HEALTH_EVERY_S)
    return taken_s


async def _watch_until_stdin_ends(url: str) -> None:
    """The other process: asks until its parent hangs up, then prints what it saw."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, ended.set)
    print(json.dumps(await watch_health(url, ended)))


async def run(url: str, clips: Sequence[Clip], n_clients: int, *, stream: bool) -> tuple[Outcome, list[float]]:
    """One run, with /health watched from another process."""
    watcher = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--watch", url, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    outcome = await send_all(url, clips, n_clients, stream=stream)
    printed, _ = await watcher.communicate(b"\n")
    healths_s: list[float] = json.loads(printed)
    return outcome, healths_s


def report(duration_s: float, n_clients: int, outcome: Outcome, healths_s: Sequence[float]) -> str:
    """One row of the table."""
    first = f"{quantile(outcome.first_events_s, 0.5):.2f} s" if outcome.first_events_s else "–"
    errors = word_errors(outcome.said, outcome.heard).rate if outcome.said else math.nan
    return (
        f"| {duration_s:g} s | {n_clients} | {outcome.audio_s / outcome.wall_s:.1f} | {latencies(outcome.latencies_s)} "
        f"| {first} | {quantile(healths_s, 0.99) * 1000:.0f} ms | {errors:.1%} | {outcome.n_failed} |"
    )


@contextlib.contextmanager
def _server(url: str | None) -> Iterator[str]:
    if url:
        yield url.rstrip("/")
        return
    with tempfile.TemporaryDirectory() as folder, running({"MAX_QUEUE_SECONDS": "3600"}, Path(folder)) as server:
        yield server.url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="a server that runs already")
    parser.add_argument("--clients", default="1,16,64", help="numbers of clients, between commas")
    parser.add_argument("--seconds", default="5,60", help="lengths of recordings, between commas")
    parser.add_argument("--rounds", type=int, default=2, help="recordings that each client sends")
    parser.add_argument("--stream", action="store_true", help="ask for streams, and measure their first event")
    parser.add_argument("--watch", metavar="URL", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.watch:
        asyncio.run(_watch_until_stdin_ends(args.watch))
        return
    print(machine())
    print("| recordings | clients | RTFx | latency p50 / p95 / p99 | first event p50 | /health p99 | WER | failed |")
    print("|---|---|---|---|---|---|---|---|")
    with _server(args.url) as url:
        for duration_s in map(float, args.seconds.split(",")):
            for n_clients in map(int, args.clients.split(",")):
                clips = make_clips(duration_s, max(4, n_clients * args.rounds))
                outcome, healths_s = asyncio.run(run(url, clips, n_clients, stream=args.stream))
                print(report(duration_s, n_clients, outcome, healths_s), flush=True)


if __name__ == "__main__":
    main()

"""What a realtime session costs in front of the engine: CPU time of the event loop, of other threads and of worker processes.

Starts a server of its own whose engine takes a GPU's time and no CPU (`paced_engine`), and speaks the same recording in many sessions,
from client processes. CPU time is the kernel's, by thread, per second of sound that arrived, because the machine may have other work. Run as
PYTHONPATH=server:runtime:demo:tests/kit python bench/live_front.py [RECORDING.wav] [--sessions 10,30] [--duration-s 15] [--profile]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import aiohttp
import httpx
import numpy as np
import soundfile
from cpu_spent import spent
from figures import machine, quantile
from front_end import profile, server

from live_kit.speaking import CHUNK_S, RATE_HZ, pcm

PACED = Path(__file__).with_name("paced_engine.py")
SESSIONS_PER_CLIENT = 50
START_S = 2.0
"""Of a client process; they start one after another."""
SETTLED_S = 4.0
"""Before the count: all sessions are connected."""
HEAD = (
    "| sessions | event loop | other threads | loop and threads | processes of sessions | cores | lag of client, p99 | passes, deltas per second of sound |\n"
    "|---|---|---|---|---|---|---|---|"
)


def recorded(path: Path | None) -> bytes:
    """PCM of a wav file, or of human prompts from a package."""
    if path is None:
        from real_kit.speech import RATE_HZ as TELEPHONE_HZ
        from real_kit.speech import long_recording

        return pcm(long_recording("en", 12).sound, TELEPHONE_HZ)
    sound, rate_hz = soundfile.read(str(path), dtype="float32")
    return pcm(np.asarray(sound), rate_hz)


async def speak(host: str, sound: bytes, n_sessions: int, duration_s: float) -> dict[str, float]:
    """Speaks in all sessions, not in step; the client's own lag and the number of deltas."""
    n_bytes = int(CHUNK_S * RATE_HZ) * 2
    pieces = [
        json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(sound[at : at + n_bytes]).decode()})
        for at in range(0, len(sound), n_bytes)
    ]
    print("begins", flush=True)
    lags_s: list[float] = []
    n_deltas = 0

    async def listen(socket: aiohttp.ClientWebSocketResponse) -> None:
        nonlocal n_deltas
        async for message in socket:
            n_deltas += "input_audio_transcription.delta" in message.data

    async def one(session: aiohttp.ClientSession, number: int) -> None:
        await asyncio.sleep(CHUNK_S * number / n_sessions)
        async with session.ws_connect(f"http://{host}/v1/realtime?intent=transcription") as socket:
            update = {"type": "transcription", "audio": {"input": {"transcription": {"language": "en"}}}}
            await socket.send_json({"type": "session.update", "session": update})
            listening = asyncio.create_task(listen(socket))
            began_s = time.monotonic()
            for count in range(int(duration_s / CHUNK_S)):
                due_s = began_s + (count + 1) * CHUNK_S
                await asyncio.sleep(due_s - time.monotonic())
                lags_s.append(time.monotonic() - due_s)
                await socket.send_str(pieces[(count + 7 * number) % len(pieces)])
            listening.cancel()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(one(session, number) for number in range(n_sessions)))
    return {"lag_p99_s": quantile(lags_s, 0.99), "n_deltas": n_deltas}


def counters(host: str) -> list[float]:
    """Seconds of sound that have arrived, passes, and deltas."""
    text = httpx.get(f"http://{host}/metrics", timeout=60).text
    names = ("audio_seconds_total", "paced_passes_total", "realtime_delta_seconds_count")
    return [
        float(line.split()[1]) for name in names for line in text.splitlines() if line.startswith(f"whisper_{name} ")
    ]


def shares(n_sessions: int) -> list[int]:
    """Of the client processes."""
    n_processes = -(-n_sessions // SESSIONS_PER_CLIENT)
    return [n_sessions // n_processes + (number < n_sessions % n_processes) for number in range(n_processes)]


def client(arguments: argparse.Namespace, host: str, n_sessions: int, total_s: float) -> subprocess.Popen[bytes]:
    """A process that has begun to speak."""
    given = [str(arguments.recording)] if arguments.recording else []
    options = ["--host", host, "--sessions", str(n_sessions), "--duration-s", str(total_s)]
    process = subprocess.Popen([sys.executable, __file__, *given, *options], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def measure(arguments: argparse.Namespace) -> None:
    print(machine(), HEAD, sep="\n", flush=True)
    with (
        server({"MAX_REALTIME_SESSIONS": "1000", "MAX_CONCURRENT_REQUESTS": "2000"}, PACED) as (host, process),
        tempfile.TemporaryDirectory() as folder,
    ):
        for n_sessions in map(int, arguments.sessions.split(",")):
            total_s = SETTLED_S + arguments.duration_s + 1.0 + START_S * len(shares(n_sessions))
            clients = [client(arguments, host, n, total_s) for n in shares(n_sessions)]
            time.sleep(SETTLED_S)
            watched = arguments.profile and shutil.which("py-spy")
            before, counts, began_s = spent(process), counters(host), time.monotonic()
            with profile(process.pid, Path(folder), "--gil") if watched else nullcontext():
                time.sleep(arguments.duration_s)
            took_s, cost = time.monotonic() - began_s, spent(process).since(before)
            sound_s, n_passes, n_deltas = (after - count for after, count in zip(counters(host), counts, strict=True))
            told = [json.loads(each.communicate()[0].splitlines()[-1]) for each in clients]
            parts_s = (cost.loop_s, cost.threads_s, cost.loop_s + cost.threads_s, cost.sessions_s)
            each = " | ".join(f"{1000 * part_s / sound_s:.2f} ms" for part_s in parts_s)
            print(
                f"| {n_sessions} | {each} | {(parts_s[2] + parts_s[3]) / took_s:.2f} | {1000 * max(each['lag_p99_s'] for each in told):.0f} ms "
                f"| {n_passes / sound_s:.2f}, {n_deltas / sound_s:.2f} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path, nargs="?")
    parser.add_argument("--sessions", default="10,20")
    parser.add_argument("--duration-s", type=float, default=15.0)
    parser.add_argument("--profile", action="store_true", help="py-spy's samples, if it is installed")
    parser.add_argument("--host", help="be the client process")
    arguments = parser.parse_args()
    if arguments.host is None:
        measure(arguments)
    else:
        print(
            json.dumps(
                asyncio.run(
                    speak(arguments.host, recorded(arguments.recording), int(arguments.sessions), arguments.duration_s)
                )
            )
        )


if __name__ == "__main__":
    main()

"""What the event loop does for realtime sessions, without sockets, threads and processes: on a clock of its own, so twice the same.

For work on the loop's cost: CPU time by what is called, on a machine that is busy with other work, and a digest of all events, by which
two trees are seen to answer the same. The server's connections, sessions and the torch engine's side of its messages are real; frames come
from a list, the voice detector and the GPU answer at once or after `PASS_S` of the clock, and what threads would do is done in
place and counted apart. System calls and hand-overs between threads are left out: `live_front` has them. Run as
PYTHONPATH=server:runtime:tests/kit:bench python bench/live_loop.py [--sessions 50] [--duration-s 20] [--profile]
"""

from __future__ import annotations

# ruff: noqa: SLF001 - parts of the server are put together without sockets
import argparse
import asyncio
import base64
import cProfile
import gc
import hashlib
import json
import pstats
import re
import time
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace

from aiohttp._websocket.helpers import _websocket_mask_python
from figures import machine
from live_front import recorded
from live_wires import Accounts, Gpu, Loop, LoudVoice, Wire
from paced_engine import PacedEngine

from http_kit.doubles import Doubles
from http_kit.running import Running, running
from live_kit.speaking import CHUNK_S, RATE_HZ
from model_kit.demo import DEMO
from whisper_runtime.choices import DType
from whisper_server.engines.gpu.model_files import read_model_files
from whisper_server.engines.torch.engine import TorchConfig
from whisper_server.engines.torch.wire import MAX_WINDOWS, Ready
from whisper_server.http.live import live_connection, session_processes
from whisper_server.service import Backend
from whisper_server.speech.live_windows import LiveWindows
from whisper_server.speech.transcribe import Transcriber
from whisper_server.speech.vad import VoiceDetector
from whisper_server.speech.window_decoding import DecodingPolicy

SETTLED_S = 4.0
"""Of the clock, before the count."""
HEAD = (
    b"GET /v1/realtime?intent=transcription HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
UPDATE = {
    "type": "session.update",
    "session": {"type": "transcription", "audio": {"input": {"transcription": {"language": "en"}}}},
}


class Server(Doubles):
    """With the paced engine in this process."""

    def __init__(self, accounts: Accounts) -> None:
        super().__init__()
        files, gpu = read_model_files(DEMO), Gpu(accounts)
        self.n_passes = 0
        engine = gpu.engine = PacedEngine(TorchConfig("paced", files, DType.FLOAT32, 0.9, 1), self._count)
        engine._ready, engine._connection = Ready("none", "float32", MAX_WINDOWS), gpu  # type: ignore[assignment]
        session_processes.LOCAL_SESSIONS = 1_000_000
        clock = asyncio.get_running_loop().time
        live_connection.time = SimpleNamespace(monotonic=clock)  # type: ignore[assignment, attr-defined]
        policy = DecodingPolicy(1, (0.0, 0.2), 0, engine.facts.n_text_positions)
        transcriber = Transcriber(engine, files.tokenizer, VoiceDetector(), policy, max_window_s=29.95, clock=clock)
        live = LiveWindows(transcriber)
        live.voice_stream = lambda _turns: LoudVoice(accounts)  # type: ignore[assignment, method-assign, return-value]
        self._backend = Backend(engine, transcriber, super().backend().decoder, live)

    def _count(self) -> None:
        self.n_passes += 1

    def backend(self) -> Backend:
        return self._backend


def frame(text: str) -> bytes:
    """As a client sends it."""
    data, mask = bytearray(text.encode()), b"\x12\x34\x56\x78"
    _websocket_mask_python(mask, data)
    head = b"\x81" + (bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big"))
    return head + mask + data


def texts(received: bytes) -> Iterator[str]:
    """Of the server's frames."""
    at = received.index(b"\r\n\r\n") + 4
    while at < len(received):
        n_bytes, at = received[at + 1], at + 2
        if n_bytes == 126:
            n_bytes, at = int.from_bytes(received[at : at + 2], "big"), at + 2
        yield received[at : at + n_bytes].decode()
        at += n_bytes


async def session(server: Running, number: int, frames: list[bytes], total_s: float) -> bytes:
    """What it receives."""
    received = bytearray()
    connection = server.http()
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0.00037 * number)
    connection.connection_made(Wire(received.extend))
    connection.data_received(HEAD)
    await asyncio.sleep(0.01)
    connection.data_received(frame(json.dumps(UPDATE)))
    begin_s = loop.time()
    for count in range(int(total_s / CHUNK_S)):
        await asyncio.sleep(begin_s + (count + 1) * CHUNK_S - loop.time())
        connection.data_received(frames[(count + 7 * number) % len(frames)])
    await asyncio.sleep(2.0)
    return bytes(received)


async def measure(arguments: argparse.Namespace, accounts: Accounts, profiler: cProfile.Profile | None) -> None:
    n_bytes, sound = int(CHUNK_S * RATE_HZ) * 2, recorded(None)
    frames = [
        frame(
            json.dumps(
                {"type": "input_audio_buffer.append", "audio": base64.b64encode(sound[at : at + n_bytes]).decode()}
            )
        )
        for at in range(0, len(sound) - n_bytes, n_bytes)
    ]
    doubles = Server(accounts)
    async with running(doubles, MAX_REALTIME_SESSIONS="1000") as server:
        total_s = SETTLED_S + arguments.duration_s
        loop = asyncio.get_running_loop()
        speaking = [
            asyncio.create_task(session(server, number, frames, total_s)) for number in range(arguments.sessions)
        ]
        await asyncio.sleep(SETTLED_S)
        gc.collect()
        accounts.spent_s.clear()
        accounts.n.clear()
        doubles.n_passes, began_s, clock_s = 0, time.thread_time(), loop.time()
        if profiler:
            profiler.enable()
        await asyncio.sleep(arguments.duration_s)
        if profiler:
            profiler.disable()
        total, sound_s = time.thread_time() - began_s, (loop.time() - clock_s) * arguments.sessions
        heard = await asyncio.gather(*speaking)
        events = [list(texts(one)) for one in heard]
        same = [re.sub(r"_[0-9a-f]{20,24}\b", "_", text) for one in events for text in one]
        digest = hashlib.sha256("\n".join(same).encode()).hexdigest()[:12]
        spent_s, n = accounts.spent_s, accounts.n
        own_s = total - spent_s["outside"] - spent_s["threads"]
        kinds = Counter(json.loads(text)["type"].rpartition(".")[2] for one in events for text in one)
        print(
            f"loop {1e6 * own_s / sound_s:.0f} µs, threads {1e6 * spent_s['threads'] / sound_s:.0f} µs in "
            f"{n['threads'] / sound_s:.2f} hand-overs, passes {doubles.n_passes / sound_s:.2f} per session and second; "
            f"events {dict(kinds)}, digest {digest}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--duration-s", type=float, default=20.0)
    parser.add_argument("--profile", action="store_true", help="cProfile, by own time")
    parser.add_argument("--sort", default="tottime")
    arguments = parser.parse_args()
    print(machine())
    accounts = Accounts()
    profiler = cProfile.Profile() if arguments.profile else None
    loop = Loop(accounts)
    asyncio.set_event_loop(loop)
    loop.run_until_complete(measure(arguments, accounts, profiler))
    if profiler:
        pstats.Stats(profiler).sort_stats(arguments.sort).print_stats(70)


if __name__ == "__main__":
    main()

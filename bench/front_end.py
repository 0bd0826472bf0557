"""What a request costs in front of the engine: CPU time of the event loop, of other threads and of decoders.

Starts a server of its own whose engine answers at once (`instant_engine`). CPU time is the kernel's, by thread, because
the machine may have other work. Run as
PYTHONPATH=tests/kit python bench/front_end.py --requests 128 --clients 16 [--profile]
"""

from __future__ import annotations

import argparse
import io
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import httpx
import psutil
from cpu_spent import spent
from figures import machine
from gpu_load import BOUNDARY, form_body
from load import make_clips

from audio_kit.files import by_ffmpeg, by_libsndfile
from server_kit.process import environment, free_port

SERVER = Path(__file__).with_name("instant_engine.py")
CLIP_S = 29.95
HEAD = "| clip | event loop | other threads | decoders | sum | requests per second here |\n|---|---|---|---|---|---|"
TOP = 25
"""Lines of the profile."""


@contextmanager
def server(variables: Mapping[str, str], program: Path = SERVER) -> Iterator[tuple[str, psutil.Process]]:
    """Its address and its process, once it is ready."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w+b") as log:
        command = [sys.executable, str(program)]
        # A worker that is replaced in the middle (after 200 jobs) is not counted: keep the rows short.
        settings = environment({"DECODE_WORKERS": "2", **variables}, port, Path(folder))
        child = subprocess.Popen(command, env=settings, stdout=log, stderr=log)
        try:
            while _is_not_ready(f"http://127.0.0.1:{port}/ready"):
                if child.poll() is not None:
                    raise RuntimeError((Path(folder) / "log").read_text())
                time.sleep(0.2)
            yield f"127.0.0.1:{port}", psutil.Process(child.pid)
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait()


def _is_not_ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code != httpx.codes.OK
    except httpx.TransportError:
        return True


def send_all(host: str, body: bytes, n_requests: int, n_clients: int) -> float:
    """The seconds that it took. Raises RuntimeError for an answer that is not 200."""
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}

    def client(n_own: int) -> None:
        connection = HTTPConnection(host, timeout=300)
        for _ in range(n_own):
            connection.request("POST", "/v1/audio/transcriptions", body, headers)
            answer = connection.getresponse()
            if (text := answer.read()) and answer.status != httpx.codes.OK:
                raise RuntimeError(f"{answer.status} {text[:300]!r}")
        connection.close()

    shares = [n_requests // n_clients + (number < n_requests % n_clients) for number in range(n_clients)]
    begin_s = time.monotonic()
    with ThreadPoolExecutor(n_clients) as threads:
        list(threads.map(client, shares))
    return time.monotonic() - begin_s


@contextmanager
def profile(pid: int, folder: Path, *options: str) -> Iterator[None]:
    """Prints where the process was, by py-spy's samples: function by function, and with what it called."""
    stacks = folder / "stacks"
    command = ["py-spy", "record", "--pid", str(pid), "--rate", "400", "--format", "raw", "--output", str(stacks)]
    spy = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1.0)
    yield
    spy.send_signal(signal.SIGINT)
    spy.wait()
    own: Counter[str] = Counter()
    under: Counter[str] = Counter()
    for line in stacks.read_text().splitlines():
        stack, _, n_samples = line.rpartition(" ")
        frames = stack.split(";")
        own[frames[-1]] += int(n_samples)
        for frame in set(frames):
            under[frame] += int(n_samples)
    total = sum(own.values())
    print(f"\npy-spy {' '.join(options)}: {total} samples; share alone, and with what it calls")
    for frame, count in under.most_common(2 * TOP):
        print(f"  {own[frame] / total:6.1%} {count / total:6.1%}  {frame}")
    print("  most alone: " + ", ".join(f"{frame} {count / total:.1%}" for frame, count in own.most_common(TOP)))


def clips(formats: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """The same 30 s in several formats."""
    spoken = make_clips(CLIP_S, 1)[0]
    yield "wav", spoken.audio
    if {"flac", "mp3"} & set(formats):
        import soundfile

        sound, rate_hz = soundfile.read(io.BytesIO(spoken.audio), dtype="float32", always_2d=True)
        yield "flac", by_libsndfile(sound, rate_hz, "FLAC", "PCM_16")
        yield "mp3", by_ffmpeg(sound, rate_hz, "mp3", "libmp3lame", bit_rate=64_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=128, help="in each row")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--formats", default="wav,flac,mp3")
    parser.add_argument("--language", default="en", help="empty: the server detects it")
    parser.add_argument("--field", action="append", default=[], help="another field of the form, NAME=VALUE")
    parser.add_argument("--profile", action="store_true", help="py-spy's samples of each row, if it is installed")
    arguments = parser.parse_args()
    print(machine())
    print(HEAD)
    formats = arguments.formats.split(",")
    with server({}) as (host, process), tempfile.TemporaryDirectory() as folder:
        for name, audio in clips(formats):
            if name not in formats:
                continue
            language = {"language": arguments.language} if arguments.language else {}
            body = form_body(
                {"model": "whisper-1", **language, **dict(pair.split("=", 1) for pair in arguments.field)},
                audio,
                f"clip.{name}",
            )
            send_all(host, body, 2 * arguments.clients, arguments.clients)
            before = spent(process)
            took_s = send_all(host, body, arguments.requests, arguments.clients)
            cost = spent(process).since(before)
            each = (cost.loop_s, cost.threads_s, cost.decoders_s)
            cells = " | ".join(f"{1000 * part_s / arguments.requests:.2f} ms" for part_s in (*each, sum(each)))
            print(f"| {name}, {len(body) / 1000:,.0f} kB | {cells} | {arguments.requests / took_s:.0f} |", flush=True)
            if arguments.profile and shutil.which("py-spy"):
                for options in ([], ["--gil"]):
                    with profile(process.pid, Path(folder), *options):
                        send_all(host, body, arguments.requests, arguments.clients)


if __name__ == "__main__":
    main()

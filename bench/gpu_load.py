"""Load for a GPU server: several client processes, one recording again and again, a time to warm up and a time to measure.

The clients must cost little, as they share the machine with the server: a request is made once, as bytes, and each
client is a thread that sends them from a plain socket (0.4 ms of a core a request here; with aiohttp's forms 0.6).
Prints a table's row: RTFx, latencies, /health.

    PYTHONPATH=tests/kit python bench/gpu_load.py --url http://127.0.0.1:8000 --clients 256
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from figures import latencies, quantile
from load import make_clips

RECORDING_S = 29.95
CHILDREN_START_S = 1.5
BOUNDARY = "a-recording-again-and-again"
CLIENTS = Path(__file__).with_name("gpu_clients.py")


@dataclass(frozen=True)
class Load:
    """The request, the number of clients, and the duration."""

    url: str
    body: bytes
    clip_s: float
    n_clients: int
    warm_up_s: float
    window_s: float
    n_processes: int = 4


@dataclass
class Seen:
    """Figures of the measured window."""

    rtfx: float
    latencies_s: list[float]
    healths_s: list[float]
    n_failed: int
    reasons: list[str]
    n_characters: int
    client_cpu_ms: float
    """CPU time of the clients per request, in ms of one core."""
    spans_s: list[tuple[float, float]] = field(default_factory=list)
    """Begin and end of every request that ended well, on time.time()'s clock."""

    def figures(self) -> dict[str, Any]:
        """For the JSON file."""
        p50_s, p95_s, p99_s = (quantile(self.latencies_s, q) for q in (0.5, 0.95, 0.99))
        return {
            "rtfx": round(self.rtfx, 1),
            "n_requests": len(self.latencies_s),
            "p50_s": round(p50_s, 4),
            "p95_s": round(p95_s, 4),
            "p99_s": round(p99_s, 4),
            "health_p99_ms": round(quantile(self.healths_s, 0.99) * 1000, 1),
            "n_failed": self.n_failed,
            "reasons": self.reasons,
            "n_characters": self.n_characters,
            "client_cpu_ms": round(self.client_cpu_ms, 2),
        }

    def cells(self) -> str:
        """For a table."""
        health = f"{quantile(self.healths_s, 0.99) * 1000:.0f} ms"
        return f"{self.rtfx:,.0f} | {latencies(self.latencies_s)} | {health} | {self.n_failed}"


def form_body(fields: Mapping[str, str], audio: bytes, filename: str = "clip.wav") -> bytes:
    """A multipart form."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
    head += "Content-Type: application/octet-stream\r\n\r\n"
    return b"".join([*parts, head.encode(), audio, f"\r\n--{BOUNDARY}--\r\n".encode()])


def run_load(load: Load, begin_s: float | None = None) -> Seen:
    """Send until the window is over, then wait for requests in flight. `begin_s`: when the clients start."""
    begin_s = begin_s or time.time() + CHILDREN_START_S
    from_s = begin_s + load.warm_up_s
    with tempfile.NamedTemporaryFile() as body:
        body.write(load.body)
        body.flush()
        n_processes = min(load.n_processes, load.n_clients)
        shares = [load.n_clients // n_processes + (n < load.n_clients % n_processes) for n in range(n_processes)]
        common = [sys.executable, str(CLIENTS), load.url, str(begin_s), str(from_s + load.window_s)]
        children = [
            subprocess.Popen([*common, "send", str(share), body.name, BOUNDARY], stdout=subprocess.PIPE)
            for share in shares
        ]
        watcher = subprocess.Popen([*common, "watch"], stdout=subprocess.PIPE)
        try:
            seen = [json.loads(child.communicate()[0]) for child in children]
            healths = json.loads(watcher.communicate()[0])
        finally:
            for process in (*children, watcher):
                process.kill()
                process.wait()
    return _in_window(load, from_s, seen, healths)


def _in_window(load: Load, from_s: float, seen: list[dict[str, Any]], healths: list[tuple[float, float]]) -> Seen:
    """A request counts by the share of it that lies in the window: clients that move in step do not make steps of it."""
    to_s = from_s + load.window_s
    spans = sorted((begin, end) for one in seen for begin, end in one["spans_s"])
    n_windows = sum(max(0.0, min(end, to_s) - max(begin, from_s)) / (end - begin) for begin, end in spans)
    reasons = sorted({reason for one in seen for reason in one["reasons"]})
    return Seen(
        rtfx=n_windows * load.clip_s / load.window_s,
        latencies_s=[end - begin for begin, end in spans if begin < to_s and end > from_s],
        healths_s=[taken for begin, taken in healths if from_s <= begin < to_s],
        n_failed=sum(one["n_failed"] for one in seen),
        reasons=reasons[:3],
        n_characters=max(one["n_characters"] for one in seen),
        client_cpu_ms=sum(one["cpu_s"] for one in seen) / max(1, len(spans)) * 1000,
        spans_s=spans,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", default="whisper-1")
    parser.add_argument("--format", default="json")
    parser.add_argument("--field", action="append", default=[], help="another field of the form, NAME=VALUE")
    parser.add_argument("--clients", type=int, default=256)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--warm-up", type=float, default=12.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--name", default="")
    args = parser.parse_args()
    clip = make_clips(RECORDING_S, 1)[0]
    fields = {"model": args.model, "language": "en", "response_format": args.format}
    fields |= dict(pair.split("=", 1) for pair in args.field)
    body = form_body(fields, clip.audio)
    url = args.url.rstrip("/")
    seen = run_load(Load(url, body, clip.duration_s, args.clients, args.warm_up, args.seconds, args.processes))
    print(f"| {args.name} | {args.clients} | {seen.cells()} |", json.dumps(seen.figures()), flush=True)


if __name__ == "__main__":
    main()

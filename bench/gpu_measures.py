"""What the GPU benchmark measures on a server: many clients, one alone, another format, half an hour among them.

How the clients work belongs to `gpu_load`, which servers there are to `gpu_servers`.
"""

from __future__ import annotations

import http.client
import io
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import soundfile
from figures import quantile
from gpu_load import BOUNDARY, CHILDREN_START_S, RECORDING_S, Load, Seen, form_body, run_load
from load import Clip, make_clips

from speech_kit.espeak import SAMPLE_RATE_HZ

SINGLE_CLIENT_S = 6.0
LATER_WARM_UP_S = 8.0
"""Warm-up of a server that was loaded before."""
LONG_TIMEOUT_S = 200.0


@dataclass(frozen=True)
class Target:
    """A server to be measured."""

    name: str
    url: str
    fields: Mapping[str, str]
    """Of its form, for the same work."""


@dataclass
class Bench:
    """How much is sent, and for how long."""

    n_processes: int
    warm_up_s: float
    window_s: float
    long_s: float
    p95_s: dict[str, float] = field(default_factory=dict)
    """Of all clients with json, by server: what the load with a long recording is held against."""

    @cached_property
    def clip(self) -> Clip:
        """What is sent again and again."""
        return make_clips(RECORDING_S, 1)[0]

    @cached_property
    def long_recording(self) -> bytes:
        """Opus: half an hour as WAV is more than a server takes."""
        if not self.long_s:
            return b""
        samples, _ = soundfile.read(io.BytesIO(make_clips(self.long_s, 1)[0].audio), dtype="float32")
        out = io.BytesIO()
        with soundfile.SoundFile(out, "w", SAMPLE_RATE_HZ, 1, subtype="OPUS", format="OGG") as file:
            for start in range(0, len(samples), SAMPLE_RATE_HZ):  # in one go libsndfile runs out of stack
                file.write(samples[start : start + SAMPLE_RATE_HZ])
        return out.getvalue()

    def prepare(self) -> None:
        """Synthesize the recordings; done while the servers start, because it takes a while."""
        _ = self.clip, self.long_recording

    def load(
        self,
        target: Target,
        answer: str,
        *,
        n_clients: int,
        warm_up_s: float,
        window_s: float,
        more: Mapping[str, str] | None = None,
    ) -> Load:
        fields = {"model": "whisper-1", "language": "en", "response_format": answer, **target.fields, **(more or {})}
        body = form_body(fields, self.clip.audio)
        return Load(target.url, body, self.clip.duration_s, n_clients, warm_up_s, window_s, self.n_processes)


Measured = tuple[Seen, dict[str, Any]]


def with_json(bench: Bench, target: Target, n_clients: int) -> Measured:
    """All clients, after a long warm-up: a virtual machine's memory is slow at first touch."""
    seen = run_load(bench.load(target, "json", n_clients=n_clients, warm_up_s=bench.warm_up_s, window_s=bench.window_s))
    bench.p95_s[target.name] = quantile(seen.latencies_s, 0.95)
    return seen, {"n_clients": n_clients}


def alone(bench: Bench, target: Target, _n_clients: int) -> Measured:
    """One client."""
    return run_load(bench.load(target, "json", n_clients=1, warm_up_s=SINGLE_CLIENT_S / 3, window_s=SINGLE_CLIENT_S)), {
        "n_clients": 1
    }


def with_verbose_json(bench: Bench, target: Target, n_clients: int) -> Measured:
    """All clients, with segments and their probabilities."""
    seen = run_load(
        bench.load(
            target, "verbose_json", n_clients=n_clients, warm_up_s=LATER_WARM_UP_S, window_s=bench.window_s * 0.6
        )
    )
    return seen, {"n_clients": n_clients}


def with_words(bench: Bench, target: Target, n_clients: int) -> Measured:
    """All clients, with the times of words."""
    load = bench.load(
        target,
        "verbose_json",
        n_clients=n_clients,
        warm_up_s=LATER_WARM_UP_S,
        window_s=bench.window_s,
        more={"timestamp_granularities[]": "word"},
    )
    return run_load(load), {"n_clients": n_clients}


def with_a_long_one(bench: Bench, target: Target, n_clients: int) -> Measured:
    """All clients, and half an hour in one request among them; the others' p95 while it is under way."""
    body = form_body(
        {"model": "whisper-1", "language": "en", "response_format": "json", **target.fields},
        bench.long_recording,
        "long.ogg",
    )
    begin_s = time.time() + CHILDREN_START_S
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(_send_once, target.url, body, begin_s + LATER_WARM_UP_S)
        load = bench.load(
            target, "json", n_clients=n_clients, warm_up_s=LATER_WARM_UP_S, window_s=bench.window_s * 1.25
        )
        seen = run_load(load, begin_s)
        status, from_s, to_s, n_characters, said = sent.result()
    beside_s = [end - begin for begin, end in seen.spans_s if begin < to_s and end > from_s]
    p95_s, before_s = quantile(beside_s, 0.95), bench.p95_s.get(target.name, float("nan"))
    return seen, {
        "n_clients": n_clients,
        "long_recording": f"{bench.long_s:g} s, {len(body) / 1e6:.1f} MB: {status} after {to_s - from_s:.1f} s, {n_characters} characters{said}",
        "others_p95_with_it_s": round(p95_s, 2),
        "others_p95_without_s": round(before_s, 2),
        "ratio": round(p95_s / before_s, 2),
    }


def _send_once(url: str, body: bytes, at_s: float) -> tuple[int, float, float, int, str]:
    time.sleep(max(0.0, at_s - time.time()))
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=LONG_TIMEOUT_S)
    begin_s = time.time()
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    connection.request("POST", "/v1/audio/transcriptions", body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    is_ok = answer.status == http.HTTPStatus.OK
    return (
        answer.status,
        begin_s,
        time.time(),
        len(json.loads(text)["text"]) if is_ok else 0,
        "" if is_ok else f" ({text[:200]})",
    )


MEASURES: dict[str, Callable[[Bench, Target, int], Measured]] = {
    "json": with_json,
    "alone": alone,
    "verbose": with_verbose_json,
    "words": with_words,
    "long": with_a_long_one,
}

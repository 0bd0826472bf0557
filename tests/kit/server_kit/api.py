"""The audio API over HTTP, as bare as it is: forms in, httpx responses out. OpenAI's own clients are tested apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

FieldValue = str | float | Sequence[str]
Sent = TypeVar("Sent")
Received = TypeVar("Received")

N_IN_FLIGHT = 16
LIMIT_S = 600.0


@dataclass(frozen=True)
class Event:
    """One server-sent event: its data, parsed."""

    data: dict[str, Any]

    @property
    def type(self) -> str:
        return str(self.data.get("type", ""))


class Api:
    """A server's audio routes. Safe to use from many threads."""

    def __init__(self, url: str, *, key: str | None = None) -> None:
        self.url = url
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        limits = httpx.Limits(max_connections=256, max_keepalive_connections=64)
        self.http = httpx.Client(base_url=url, headers=headers, timeout=LIMIT_S, limits=limits)

    def close(self) -> None:
        self.http.close()

    def post(self, audio: bytes, *, route: str = "transcriptions", **fields: FieldValue) -> httpx.Response:
        """Send a file with fields; a list goes out as `name[]`, once a value."""
        return self.http.post(f"/v1/audio/{route}", files={"file": ("clip.wav", audio)}, data=form(**fields))

    def json(self, audio: bytes, *, route: str = "transcriptions", **fields: FieldValue) -> Any:
        """The parsed answer; anything but 200 is an AssertionError with the answer in it."""
        return _good(self.post(audio, route=route, **fields)).json()

    def text(self, audio: bytes, *, route: str = "transcriptions", **fields: FieldValue) -> str:
        """What was heard."""
        return str(self.json(audio, route=route, **fields)["text"])

    def verbose(self, audio: bytes, *, route: str = "transcriptions", **fields: FieldValue) -> Any:
        """verbose_json."""
        return self.json(audio, route=route, response_format="verbose_json", **fields)

    def events(self, audio: bytes, *, route: str = "transcriptions", **fields: FieldValue) -> Iterator[Event]:
        """A stream's events, as they come."""
        files = {"file": ("clip.wav", audio)}
        with self.http.stream("POST", f"/v1/audio/{route}", files=files, data=form(stream="true", **fields)) as answer:
            if answer.status_code != httpx.codes.OK:
                answer.read()
                _good(answer)
            content_type = answer.headers["content-type"]
            if not content_type.startswith("text/event-stream"):
                raise AssertionError(f"no event stream but {content_type}")
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield Event(json.loads(line.removeprefix("data: ")))

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels; 0 where it is not there."""
        lines = self.http.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.split(" ")[0].split("{")[0] == name)


def form(**fields: FieldValue) -> dict[str, str | list[str]]:
    """Form fields as OpenAI's clients write them; `model` is whisper-1 unless given."""
    written: dict[str, str | list[str]] = {"model": "whisper-1"}
    for name, value in fields.items():
        if isinstance(value, str | int | float):
            written[name] = str(value)
        else:
            written[f"{name}[]"] = list(value)
    return written


def in_flight(
    work: Callable[[Sent], Received], items: Sequence[Sent], *, n_in_flight: int = N_IN_FLIGHT
) -> list[Received]:
    """`work` on every item, so many at a time; results in order."""
    with ThreadPoolExecutor(n_in_flight) as pool:
        return list(pool.map(work, items))


def _good(answer: httpx.Response) -> httpx.Response:
    if answer.status_code != httpx.codes.OK:
        raise AssertionError(f"{answer.status_code} {answer.text}")
    return answer

"""Clients that send speech again and again, and a judgement of what came back: nothing lost, nothing wrong.

They are threads with OpenAI's own client in each. What happens to the cluster meanwhile is the tests' business.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import openai

from e2e_kit.attempts import FailedAttempt, failed_attempts, told
from e2e_kit.clips import Clip, ask_quietly, clips
from suite_kit.slow import IN_SHORT

DEFAULT_RETRIES = openai.DEFAULT_MAX_RETRIES
N_CLIENTS = 8
REST_S = 6.0 if IN_SHORT else 2.0
"""Between an answer and a client's next request. At 2 s eight clients keep two cores busy, and do not flood them; at 6 s about
one request is in flight at any time, which suffices to see what a fault loses."""
ANSWER_S = 120.0
"""What takes longer has failed. Undisturbed it is about a second."""
START_S = 120.0
LINGER_S = 3.0
"""Traffic goes on after the last disturbance: what it brings about may come late."""


@dataclass(frozen=True)
class Manner:
    """How clients ask."""

    max_retries: int = 0
    answer_s: float = ANSWER_S
    rest_s: float = REST_S


class Endpoint(Protocol):
    """What traffic needs of one."""

    def client(self, *, max_retries: int = 0, timeout_s: float = 600, api_key: str = "none") -> openai.OpenAI: ...


@dataclass(frozen=True)
class Asked:
    """One request, from its first attempt to its end."""

    client: str
    clip: str
    start_s: float
    end_s: float
    text: str = ""
    problem: str = ""
    """Why there is no answer; empty where there is one."""
    n_retries: int = 0
    request_id: str = ""
    """As the pod's access log has it."""


@dataclass
class Traffic:
    """What the clients met; it grows while they run."""

    expected: Mapping[str, str]
    asked: list[Asked] = field(default_factory=list)
    attempts: list[FailedAttempt] = field(default_factory=list)
    start_s: float = field(default_factory=time.monotonic)
    end_s: float = 0.0

    @property
    def failed(self) -> list[Asked]:
        return [each for each in self.asked if each.problem]

    @property
    def wrong(self) -> list[Asked]:
        """Answers that are not what the quiet endpoint said."""
        return [each for each in self.asked if not each.problem and each.text != self.expected[each.clip]]

    @property
    def retried(self) -> list[Asked]:
        return [each for each in self.asked if each.n_retries]

    @property
    def longest_pause_s(self) -> float:
        """In which no client got an answer."""
        ends = sorted(each.end_s for each in self.asked if not each.problem)
        marks = [self.start_s, *ends, self.end_s or time.monotonic()]
        return max(after - before for before, after in itertools.pairwise(marks))

    @property
    def disturbed_s(self) -> float:
        """From the first attempt that failed to the last."""
        return self.attempts[-1].at_s - self.attempts[0].at_s if self.attempts else 0.0

    def __str__(self) -> str:
        longest_s = max((each.end_s - each.start_s for each in self.asked), default=0.0)
        return (
            f"{len(self.asked)} requests in {self.end_s - self.start_s:.0f} s, {len(self.failed)} failed, "
            f"{len(self.wrong)} wrong; {len(self.attempts)} attempts failed within {self.disturbed_s:.1f} s; "
            f"longest answer {longest_s:.1f} s, longest pause {self.longest_pause_s:.1f} s"
        )

    def assert_nothing_lost(self) -> None:
        """Every request was answered, and rightly. Says all that was not."""
        lines = [f"{each.client}, {each.clip}, {self._when(each)}: {each.problem}" for each in self.failed]
        lines += [
            f"{each.client}, {each.clip}, {self._when(each)}, request {each.request_id}:\n"
            f"  {each.text!r} instead of\n  {self.expected[each.clip]!r}"
            for each in self.wrong
        ]
        assert self.asked, "nothing was sent"
        assert not lines, "\n".join([str(self), *lines, self.troubles()])

    def troubles(self) -> str:
        """What the attempts that failed met, each kind once with its number."""
        kinds = Counter(each.problem for each in self.attempts)
        return "\n".join(f"{number} × {problem}" for problem, number in kinds.most_common())

    def _when(self, asked: Asked) -> str:
        return f"{asked.start_s - self.start_s:.1f} to {asked.end_s - self.start_s:.1f} s"


class Quiet:
    """What an endpoint makes of every clip while no other client asks: once for all endpoints that run the same model."""

    def __init__(self) -> None:
        self._texts: Mapping[str, str] = {}

    def texts(self, endpoint: Endpoint) -> Mapping[str, str]:
        """By the clips' names. No other client may use the endpoint during the first requests."""
        if not self._texts:
            with endpoint.client(timeout_s=ANSWER_S) as client:
                self._texts = ask_quietly(lambda clip: _ask(client, clip)[0], clips())
        return self._texts


@contextmanager
def flowing(
    endpoint: Endpoint,
    expected: Mapping[str, str],
    *,
    clients: int = N_CLIENTS,
    max_retries: int = 0,
    answer_s: float = ANSWER_S,
) -> Iterator[Traffic]:
    """Traffic for as long as the block runs, from when every client has had an answer. Judge it after the block."""
    ending = threading.Event()
    with failed_attempts() as attempts:
        traffic = Traffic(expected, attempts=attempts)
        manner = Manner(max_retries, answer_s)
        makers = [_Client(number, endpoint, manner, traffic, ending) for number in range(clients)]
        for each in makers:
            each.start()
        try:
            _wait_for_first_answers(traffic, clients)
            yield traffic
            time.sleep(LINGER_S)
        finally:
            ending.set()
            for each in makers:
                each.join()
            traffic.end_s = time.monotonic()


def _wait_for_first_answers(traffic: Traffic, clients: int) -> None:
    deadline_s = time.monotonic() + START_S
    while len({each.client for each in traffic.asked}) < clients:
        if time.monotonic() > deadline_s:
            raise AssertionError(f"not every client had an answer after {START_S:g} s: {traffic}")
        time.sleep(0.1)


class _Client(threading.Thread):
    """One that asks, reads, rests, and asks again. Every second one makes a new client for each request, and with it a
    new connection; the others keep theirs."""

    def __init__(
        self, number: int, endpoint: Endpoint, manner: Manner, traffic: Traffic, ending: threading.Event
    ) -> None:
        super().__init__(name=f"client {number}{' (new connections)' if number % 2 else ''}", daemon=True)
        self._endpoint, self._manner, self._traffic, self._ending = endpoint, manner, traffic, ending
        self._keeps = number % 2 == 0
        self._random = random.Random(number)

    def run(self) -> None:
        with ExitStack() as stack:
            kept = stack.enter_context(self._new()) if self._keeps else None
            for clip in self._clips():
                if kept is None:
                    with self._new() as fresh:
                        self._traffic.asked.append(self._request(fresh, clip))
                else:
                    self._traffic.asked.append(self._request(kept, clip))
                if self._ending.wait(self._manner.rest_s * self._random.uniform(0.5, 1.5)):
                    return

    def _clips(self) -> Iterator[Clip]:
        """Every tenth is a long one."""
        while True:
            (clip,) = self._random.choices(clips(), [1 if each.is_long else 3 for each in clips()])
            yield clip

    def _new(self) -> openai.OpenAI:
        return self._endpoint.client(max_retries=self._manner.max_retries, timeout_s=self._manner.answer_s)

    def _request(self, client: openai.OpenAI, clip: Clip) -> Asked:
        start_s = time.monotonic()
        try:
            text, n_retries, request_id = _ask(client, clip)
        except Exception as problem:  # noqa: BLE001 - whatever it is, it is a request that failed
            return Asked(self.name, clip.name, start_s, time.monotonic(), problem=told(problem))
        return Asked(
            self.name, clip.name, start_s, time.monotonic(), text=text, n_retries=n_retries, request_id=request_id
        )


def _ask(client: openai.OpenAI, clip: Clip) -> tuple[str, int, str]:
    """The text, how often it was tried again, and the answer's id."""
    answer = client.audio.transcriptions.with_raw_response.create(
        file=("clip.wav", clip.audio), model="whisper-1", response_format=clip.response_format
    )
    return answer.parse().text, answer.retries_taken, answer.headers.get("x-request-id", "")

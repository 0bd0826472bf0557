"""Live windows in vLLM's queue, over a double of its scheduler."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from whisper_server.engines.vllm.wire import WhisperParams
from whisper_server.engines.vllm.worker.live_first import LiveFirst, live_first


@dataclass
class QueueDouble:
    n_per_step: int = 1
    waiting: deque[Any] = field(default_factory=deque)

    def add_request(self, request: Any) -> None:
        self.waiting.append(request)

    def finish_requests(self, request_id: str) -> list[Any]:
        ended = [request for request in self.waiting if request.request_id == request_id]
        self.waiting = deque(request for request in self.waiting if request.request_id != request_id)
        return ended

    def schedule(self) -> Any:
        begun = [self.waiting.popleft().request_id for _ in range(min(self.n_per_step, len(self.waiting)))]
        return SimpleNamespace(scheduled_encoder_inputs={request_id: [0] for request_id in begun})


class LiveScheduler(LiveFirst, QueueDouble):
    def receive(self, *names: str) -> None:
        """Names in capitals are live."""
        for name in names:
            params = WhisperParams(n_task_tokens=4, is_live=name.isupper())
            self.add_request(
                SimpleNamespace(request_id=name, sampling_params=SimpleNamespace(extra_args=params.to_extra_args()))
            )

    def step(self) -> str:
        """The windows that a step begins."""
        return "".join(self.schedule().scheduled_encoder_inputs)


def test_live_windows_go_ahead_of_files_up_to_two_of_three() -> None:
    assert "".join(live_first("ABCDE", "wxyz", 0)) == "ABwCDxEyz"
    assert "".join(live_first("ABC", "", 2)) == "ABC"
    assert "".join(live_first("AB", "w", 2)) == "wAB"


def test_share_holds_over_steps_though_live_windows_keep_coming() -> None:
    scheduler = LiveScheduler()
    scheduler.receive(*"abcde", *"ABCDEF")
    assert [scheduler.step() for _ in range(3)] == ["A", "B", "a"]
    scheduler.receive("G", "f")
    assert "".join(scheduler.step() for _ in range(10)) == "CDbEFcGdef"
    assert scheduler._live == set()


def test_full_steps_keep_the_share() -> None:
    scheduler = LiveScheduler(n_per_step=4)
    scheduler.receive(*"abcd", *"ABCDE")
    assert [scheduler.step() for _ in range(3)] == ["ABaC", "DbEc", "d"]


def test_live_window_that_is_given_up_is_forgotten() -> None:
    scheduler = LiveScheduler()
    scheduler.receive("a", "A")
    scheduler.finish_requests("A")
    assert (scheduler.step(), scheduler._live) == ("a", set())


def test_request_of_vllm_itself_is_not_live() -> None:
    scheduler = LiveScheduler()
    scheduler.add_request(SimpleNamespace(request_id="warm-up", sampling_params=SimpleNamespace(extra_args=None)))
    assert scheduler.step() == "warm-up"

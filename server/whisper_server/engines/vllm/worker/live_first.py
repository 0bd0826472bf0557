"""Windows of live sessions go ahead of files' in vLLM's queue, by a bounded share.

Mixed into vLLM's schedulers by `scheduler`. Only the order of what waits changes: windows that are being decoded advance
together, whosever they are. Imports neither torch nor vllm.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

from whisper_server.engines.vllm.wire import WhisperParams

MAX_LIVE_IN_A_ROW = 2
"""Live windows before one of others that wait, as on CTranslate2: files keep a third of the places."""

Item = TypeVar("Item")


class SamplingParams(Protocol):
    """What is used of vLLM's SamplingParams."""

    extra_args: dict[str, Any] | None


class Request(Protocol):
    """What is used of vLLM's Request."""

    request_id: str
    sampling_params: SamplingParams


def live_first(live: Sequence[Item], others: Sequence[Item], n_in_a_row: int) -> list[Item]:
    """Both in their own order: one other after MAX_LIVE_IN_A_ROW live ones, `n_in_a_row` of which have gone already."""
    ordered: list[Item] = []
    n_others = 0
    for item in live:
        if n_in_a_row >= MAX_LIVE_IN_A_ROW and n_others < len(others):
            ordered.append(others[n_others])
            n_others, n_in_a_row = n_others + 1, 0
        ordered.append(item)
        n_in_a_row += 1
    return [*ordered, *others[n_others:]]


class LiveFirst:
    """Orders vLLM's queue before each step."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._live: set[str] = set()
        """Ids of live windows that wait."""
        self._n_in_a_row = 0

    def add_request(self, request: Request) -> None:
        """Note whether the window is live."""
        if WhisperParams.from_extra_args(request.sampling_params.extra_args).is_live:
            self._live.add(request.request_id)
        super().add_request(request)  # type: ignore[misc]

    def finish_requests(self, *args: object, **kwargs: object) -> list[Request]:
        """Forget requests that end early."""
        requests: list[Request] = super().finish_requests(*args, **kwargs)  # type: ignore[misc]
        self._live.difference_update(request.request_id for request in requests)
        return requests

    def schedule(self, *args: object, **kwargs: object) -> Any:
        """The next step, as vLLM's SchedulerOutput."""
        if self._live:
            self._order()
        step = super().schedule(*args, **kwargs)  # type: ignore[misc]
        self._count(step.scheduled_encoder_inputs)
        return step

    def _order(self) -> None:
        queue: deque[Request] = self.waiting  # type: ignore[attr-defined]
        waiting = list(queue)
        live = [request for request in waiting if request.request_id in self._live]
        ordered = live_first(
            live, [request for request in waiting if request.request_id not in self._live], self._n_in_a_row
        )
        if ordered != waiting:
            queue.clear()
            queue.extend(ordered)

    def _count(self, begun: Iterable[str]) -> None:
        for request_id in begun:
            self._n_in_a_row = self._n_in_a_row + 1 if request_id in self._live else 0
            self._live.discard(request_id)

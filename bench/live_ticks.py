"""An event loop on a clock of its own, which waits for nothing: the time of the next timer comes at once.

What threads would compute is computed in place and takes no time: what it costs is charged by `live_costs`. So two runs with the
same engine are the same.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVarTuple, Unpack

Arguments = TypeVarTuple("Arguments")


class Ticks(selectors.DefaultSelector):
    """The clock; it is the selector of its loop, as that is where a loop waits."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(timeout)
        if not (ready := super().select(0)):
            self.now_s += max(0.0, timeout)
        return ready


class TickingLoop(asyncio.SelectorEventLoop):
    """Timers follow the clock, and executors are not used."""

    def __init__(self) -> None:
        self._ticks = Ticks()
        super().__init__(self._ticks)

    def time(self) -> float:
        return self._ticks.now_s

    def run_in_executor(  # type: ignore[override] # the result is there at once
        self, executor: Executor | None, function: Callable[[Unpack[Arguments]], object], *args: *Arguments
    ) -> asyncio.Future[object]:
        del executor
        future = self.create_future()
        try:
            future.set_result(function(*args))
        except Exception as error:  # noqa: BLE001 - as an executor passes it on
            future.set_exception(error)
        return future

"""Ends of a server's wires without sockets, threads and processes, on a clock of its own: for `live_loop`.

CPU time that is not the event loop's is counted apart, by what it is of.
"""

from __future__ import annotations

# ruff: noqa: SLF001 - parts of the server are put together without sockets
import asyncio
import heapq
import itertools
import selectors
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.reduction import ForkingPickler
from pickle import loads
from typing import Any

import numpy as np
from live_ticks import TickingLoop
from paced_engine import PASS_S, STEP_S, PacedEngine, Speaker, n_written

from whisper_server.engines.torch.wire import Answer, DecodeTask
from whisper_server.speech.vad import FRAME_SAMPLES, Probabilities
from whisper_server.whisper.transcript import Samples

VOICE_S = 0.005
SPEECH_RMS = 0.01


class Accounts:
    """CPU time that is not the event loop's: `outside` is no part of the server's process, `threads` is."""

    def __init__(self) -> None:
        self.spent_s: dict[str, float] = defaultdict(float)
        self.n: Counter[str] = Counter()

    @contextmanager
    def charged(self, to: str) -> Iterator[None]:
        begin_s = time.thread_time()
        yield
        self.spent_s[to] += time.thread_time() - begin_s
        self.n[to] += 1


class NoSockets(selectors.SelectSelector):
    """Nothing ever comes by a socket; waiting moves the clock."""

    now_s: float = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("Nothing is due")
        self.now_s += max(0.0, timeout)
        return []


class Loop(TickingLoop):
    """On a clock, without a selector."""

    def __init__(self, accounts: Accounts) -> None:
        self._ticks = NoSockets()  # type: ignore[assignment] # of the same use
        asyncio.SelectorEventLoop.__init__(self, self._ticks)
        self._accounts = accounts

    def run_in_executor(self, executor: Any, function: Any, *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        with self._accounts.charged("threads"):
            return super().run_in_executor(executor, function, *args)


class Wire(asyncio.Transport):
    """A client's end."""

    def __init__(self, on_bytes: Callable[[bytes], None]) -> None:
        super().__init__()
        self.on_bytes = on_bytes
        self.max_size = 0

    def write(self, data: Any) -> None:
        self.on_bytes(bytes(data))

    def writelines(self, parts: Any) -> None:
        self.on_bytes(b"".join(parts))

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...

    def abort(self) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class LoudVoice:
    """The voice detector: a frame is speech if it is loud."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._rest = np.zeros(0, np.float32)

    async def add(self, samples: Samples) -> Probabilities:
        with self._accounts.charged("outside"):
            sound = np.concatenate([self._rest, samples])
            frames = sound[: len(sound) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
            self._rest = sound[frames.size :]
            found = np.where((frames**2).mean(axis=1) > SPEECH_RMS**2, 0.97, 0.03).astype(np.float32)
        await asyncio.sleep(VOICE_S)
        return found


class Gpu:
    """The engine's process, as its `Connection`."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts, self._speaker = accounts, Speaker()
        self._due: list[tuple[float, int, Answer]] = []
        self._order = itertools.count()
        self.engine: PacedEngine

    def send(self, batch: Any) -> None:
        data = bytes(ForkingPickler.dumps(batch))
        with self._accounts.charged("outside"):
            loop = asyncio.get_running_loop()
            for request in loads(data):
                n_samples = n_written(self.engine._audio_pool.samples[request.place.slot])
                at_s = loop.time() + (PASS_S if isinstance(request, DecodeTask) else 0.0)
                if not self._due:
                    loop.call_later(STEP_S, self._answer)
                heapq.heappush(self._due, (at_s, next(self._order), self._speaker.answer(request, n_samples)))

    def _answer(self) -> None:
        loop, answers = asyncio.get_running_loop(), []
        with self._accounts.charged("outside"):
            while self._due and self._due[0][0] <= loop.time():
                answers.append(heapq.heappop(self._due)[2])
            data = bytes(ForkingPickler.dumps(tuple(answers)))
            if self._due:
                loop.call_later(STEP_S, self._answer)
        if answers:
            self.engine._deliver(loads(data))

"""The voice detector on the sound of all live sessions: a few in threads of the server, more in processes of their own."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Hashable
from typing import Protocol

from whisper_runtime.memory import VOICE_PROCESS_BYTES
from whisper_server.fairness.fair_semaphore import FairSemaphore
from whisper_server.memory.budget import MemoryBudget, Reservation
from whisper_server.speech.live_vad import VoiceStream
from whisper_server.speech.vad import Probabilities, VoiceDetector
from whisper_server.speech.voice_process import VoiceProcess
from whisper_server.whisper.transcript import Samples

_LOG = logging.getLogger(__name__)

THREAD_STREAMS = 8
"""In the server's threads, at 7 ms of CPU per second of sound each: few sessions start no process."""
IDLE_S = 60.0
"""After which a process without streams ends."""
PROCESS_STREAMS = 64
"""Of a process before the next is started: 0.4 of a core."""


class Detector(Protocol):
    """Where a stream is heard."""

    async def add(self, samples: Samples) -> Probabilities: ...

    def close(self) -> None: ...


class VoiceStreams:
    """Of one server."""

    def __init__(
        self,
        voice: VoiceDetector,
        threads: FairSemaphore,
        held: Reservation | None = None,
        *,
        max_processes: int | None = None,
    ) -> None:
        """`held`: what the processes take in memory; None: no limit. `max_processes`: by default one for four cores; 0: none."""
        self._voice = voice
        self._threads = threads
        self._held = held or MemoryBudget.unlimited().reservation()
        n_cores = len(os.sched_getaffinity(0))
        self._max_processes = max(1, n_cores // 4) if max_processes is None else max_processes
        self._processes: list[VoiceProcess] = []
        self._starting = asyncio.Lock()
        self._n_in_threads = 0
        self._is_stopping = False

    def open(self, owner: str, session: Hashable) -> LiveVoice:
        """A detector at the start of a session's stream."""
        return LiveVoice(self, owner, session)

    async def stop(self) -> None:
        """End the processes."""
        self._is_stopping = True
        async with self._starting:
            await asyncio.gather(*(process.stop() for process in self._processes))

    async def place(self, owner: str, session: Hashable) -> Detector:
        """Where the next stream is heard. Raises OSError if no process can be started for it."""
        if self._n_in_threads >= THREAD_STREAMS and self._max_processes and not self._is_stopping:
            async with self._starting:
                if (process := await self._process()) is not None:
                    return _InProcess(process, self._leave_process)
        self._n_in_threads += 1
        return _InThreads(self._voice, self._threads, owner, session, self._leave_threads)

    async def _process(self) -> VoiceProcess | None:
        """The one with the fewest streams; another one where all have many. None: there is no memory for the first."""
        least = min(self._processes, key=lambda process: process.n_streams, default=None)
        is_full = least is None or (least.n_streams >= PROCESS_STREAMS and len(self._processes) < self._max_processes)
        if not is_full or self._is_stopping or not self._held.grow(VOICE_PROCESS_BYTES):
            return least
        started = VoiceProcess(self._forget)
        self._processes.append(started)
        try:
            await started.start()
        except BaseException:
            self._forget(started)
            raise
        return started

    def _forget(self, process: VoiceProcess) -> None:
        """It has ended."""
        if process in self._processes:
            self._processes.remove(process)
            self._held.shrink(VOICE_PROCESS_BYTES)
        if process.n_streams and not self._is_stopping:
            _LOG.error("A process of the voice detector has ended, and with it %d sessions", process.n_streams)

    def _leave_process(self, process: VoiceProcess) -> None:
        if not process.n_streams:
            asyncio.get_running_loop().call_later(IDLE_S, self._end_idle, process)

    def _end_idle(self, process: VoiceProcess) -> None:
        if not process.n_streams:
            process.close()

    def _leave_threads(self) -> None:
        self._n_in_threads -= 1


class LiveVoice:
    """One stream. One call of `add` at a time."""

    def __init__(self, streams: VoiceStreams, owner: str, session: Hashable) -> None:
        self._streams = streams
        self._owner = owner
        self._session = session
        self._detector: Detector | None = None
        """None before the first sound."""

    async def add(self, samples: Samples) -> Probabilities:
        """Probabilities of the frames of 32 ms that are whole now, shape (n_frames,). Raises InternalError."""
        if self._detector is None:
            self._detector = await self._streams.place(self._owner, self._session)
        return await self._detector.add(samples)

    def close(self) -> None:
        """The session is over."""
        detector, self._detector = self._detector, None
        if detector is not None:
            detector.close()


class _InThreads:
    """In a thread of the server, in its owner's turn."""

    def __init__(
        self, voice: VoiceDetector, threads: FairSemaphore, owner: str, session: Hashable, leave: Callable[[], None]
    ) -> None:
        self._stream = VoiceStream(voice)
        self._threads = threads
        self._owner = owner
        self._session = session
        self.close = leave

    async def add(self, samples: Samples) -> Probabilities:
        async with self._threads.slot(self._owner, self._session):
            return await asyncio.to_thread(self._stream.add, samples)


class _InProcess:
    """In a process that hears several streams."""

    def __init__(self, process: VoiceProcess, leave: Callable[[VoiceProcess], None]) -> None:
        self._process = process
        self._leave = leave
        self._number = process.new_stream()

    async def add(self, samples: Samples) -> Probabilities:
        return await self._process.add(self._number, samples)

    def close(self) -> None:
        self._process.end_stream(self._number)
        self._leave(self._process)

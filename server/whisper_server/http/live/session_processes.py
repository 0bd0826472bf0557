"""Where realtime sessions run: the first ones in the server's process, more in processes of their own."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
from typing import cast

from aiohttp import web

from whisper_runtime.memory import SESSION_PROCESS_BYTES
from whisper_server.api.realtime_session import SessionConfig
from whisper_server.http.connection import Connection
from whisper_server.http.live.live_connection import LiveConnection, SessionHost
from whisper_server.http.live.session_account import SessionAccount
from whisper_server.http.live.session_messages import Start
from whisper_server.http.live.session_process import MAX_SESSIONS, SessionProcess
from whisper_server.live.speech_protocol import LiveSpeech
from whisper_server.memory.budget import Reservation

log = logging.getLogger(__name__)

LOCAL_SESSIONS = 8
"""In the server's process, at 4 ms of its event loop per second of sound each, and 7 of a thread: few sessions start no process."""
IDLE_S = 60.0
"""After which a process without sessions ends."""
PROCESS_SESSIONS = 64
"""Of a process before the next is started: 0.6 of a core."""


class SessionProcesses:
    """Of one server."""

    def __init__(
        self,
        host: SessionHost,
        held: Reservation,
        *,
        log_format: str,
        log_level: str,
        max_processes: int | None = None,
    ) -> None:
        """`held`: what the processes take in memory. `max_processes`: by default one for four cores."""
        self.rules = host.terms.rules
        self._host = host
        self._held = held
        self._log = log_format, log_level
        self._max_processes = max(1, len(os.sched_getaffinity(0)) // 4) if max_processes is None else max_processes
        self._processes: list[SessionProcess] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._starting = asyncio.Lock()
        self._n_local = 0
        self._is_stopping = False

    async def serve(
        self, request: web.Request, speech: LiveSpeech, config: SessionConfig, account: SessionAccount
    ) -> web.StreamResponse:
        """One session, until the client leaves or it is ended. Raises ApiError, OSError before it begins."""
        process = None
        if self._n_local >= LOCAL_SESSIONS and self._max_processes:
            process = await self._process_for(request, speech)
        if process is not None:
            client, behind = cast("Connection", request.protocol).hand_over()
            return await process.serve(request, behind, client, config, account)
        self._n_local += 1
        try:
            return await LiveConnection(request, self._host, speech, account).serve(config)
        finally:
            self._n_local -= 1

    def max_lag_s(self) -> float:
        """The longest lag of an event loop of theirs, in the minute before each answered last."""
        return max((process.max_lag_s for process in self._processes), default=0.0)

    async def stop(self) -> None:
        """End the processes, and with them the sessions that they still have."""
        self._is_stopping = True
        async with self._starting:
            await asyncio.gather(*(process.stop() for process in self._processes))
        await asyncio.gather(*self._ending)

    async def _process_for(self, request: web.Request, speech: LiveSpeech) -> SessionProcess | None:
        """The request's. What its client sends in the meantime stays in the kernel, for the one that reads it.

        Raises ConnectionResetError, OSError.
        """
        transport, process = request.transport, None
        if transport is None:
            raise ConnectionResetError("The client has left")
        transport.pause_reading()
        try:
            async with self._starting:
                process = await self._process(speech)
        finally:
            if process is None:
                transport.resume_reading()
        return process

    async def _process(self, speech: LiveSpeech) -> SessionProcess | None:
        """The one with the fewest sessions; another one where all have many. None: there is no room or no memory for one more."""
        least = min(self._processes, key=lambda process: process.n_sessions, default=None)
        has_many = least is None or least.n_sessions >= PROCESS_SESSIONS
        if has_many and len(self._processes) < self._max_processes and not self._is_stopping:
            least = await self._started(speech) or least
        return None if least is None or least.n_sessions >= MAX_SESSIONS else least

    async def _started(self, speech: LiveSpeech) -> SessionProcess | None:
        """A new one. None: there is no memory for it. Raises OSError."""
        if not self._held.grow(SESSION_PROCESS_BYTES):
            return None
        start = Start(speech.facts, self._host.terms, *self._log)
        process = SessionProcess(start, speech, self._host.closing, on_end=self._forget, on_free=self._leave)
        self._processes.append(process)
        try:
            # In no request's context: the process outlives it, and its log lines would have that request's id.
            await asyncio.create_task(process.start(), context=contextvars.Context())
        except BaseException:
            self._forget(process)
            raise
        return process

    def _forget(self, process: SessionProcess) -> None:
        """It has ended."""
        if process in self._processes:
            self._processes.remove(process)
            ending = asyncio.create_task(process.stop())  # until the system has forgotten it, too
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            self._held.shrink(SESSION_PROCESS_BYTES)
        if process.n_sessions and not self._is_stopping:
            log.error("A process of realtime sessions has ended, and with it %d sessions", process.n_sessions)

    def _leave(self, process: SessionProcess) -> None:
        if not process.n_sessions:
            asyncio.get_running_loop().call_later(IDLE_S, self._end_idle, process)

    def _end_idle(self, process: SessionProcess) -> None:
        if not process.n_sessions:
            process.close()


SESSION_PROCESSES = web.AppKey("session_processes", SessionProcesses)

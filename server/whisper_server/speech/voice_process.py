"""The server's end of one `voice_worker`: starts it, gives it pieces of sound, and notices its death."""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import sys
from contextlib import suppress

import numpy as np

from whisper_server.errors import InternalError
from whisper_server.process.children import own_child_environment
from whisper_server.speech.vad import Probabilities
from whisper_server.speech.voice_worker import HEADER
from whisper_server.whisper.transcript import Samples

_LOG = logging.getLogger(__name__)

STOP_S = 2.0
"""Then it is killed."""
ANSWER_S = 30.0
"""A worker that answers nobody for so long, though somebody waits, is given up: it needs 2 s to start, and 10 ms for a second of sound."""


class VoiceProcess(asyncio.Protocol):
    """A running worker. Each stream has at most one piece in it at a time."""

    def __init__(self, answer_s: float = ANSWER_S) -> None:
        self.n_streams = 0
        self._answer_s = answer_s
        self._n_answered = 0
        self._watching: asyncio.TimerHandle | None = None
        self.is_dead = False
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Probabilities]] = {}
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "whisper_server.speech.voice_worker", str(theirs.fileno())),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    process_group=0,
                    env=own_child_environment(),
                )
            except BaseException:
                ours.close()
                raise
        self._transport, _ = await asyncio.get_running_loop().create_connection(lambda: self, sock=ours)
        self._watch(-1)

    async def stop(self) -> None:
        """End it: it leaves when the connection is closed."""
        if self._transport is not None:
            self._transport.close()
        if self._process is None:
            return
        try:
            async with asyncio.timeout(STOP_S):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def new_stream(self) -> int:
        """Its number."""
        self.n_streams += 1
        return next(self._numbers)

    def end_stream(self, number: int) -> None:
        """Forget it."""
        self.n_streams -= 1
        self._waiting.pop(number, None)
        if self._transport is not None and not self.is_dead:
            self._transport.write(HEADER.pack(number, 0))

    async def add(self, number: int, samples: Samples) -> Probabilities:
        """Of the frames that are whole now. Raises InternalError if the worker is gone."""
        if self.is_dead or self._transport is None:
            raise InternalError("The voice detector's process has ended.")
        answer: asyncio.Future[Probabilities] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._transport.write(HEADER.pack(number, len(samples)) + samples.tobytes())
        return await answer

    def data_received(self, data: bytes) -> None:
        """Answers, in whatever pieces."""
        self._received += data
        at = 0
        while len(self._received) - at >= HEADER.size:
            number, n_frames = HEADER.unpack_from(self._received, at)
            end = at + HEADER.size + 4 * n_frames
            if len(self._received) < end:
                break
            found = np.frombuffer(bytes(self._received[at + HEADER.size : end]), np.float32)
            self._n_answered += 1
            answer = self._waiting.pop(number, None)
            if answer is not None and not answer.done():
                answer.set_result(found)
            at = end
        del self._received[:at]

    def _watch(self, n_answered: int) -> None:
        """Once in `answer_s`: one timer, as a timeout for each of a thousand pieces a second takes the event loop's time."""
        is_stuck = bool(self._waiting) and self._n_answered == n_answered
        if is_stuck and self._transport is not None:
            _LOG.error("A process of the voice detector does not answer for %g s; its sessions end", self._answer_s)
            self._transport.abort()
        elif not self.is_dead:
            before = self._n_answered if self._waiting else -1
            self._watching = asyncio.get_running_loop().call_later(self._answer_s, self._watch, before)

    def connection_lost(self, error: Exception | None) -> None:
        """What waits fails."""
        del error
        self.is_dead = True
        if self._watching is not None:
            self._watching.cancel()
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            if not answer.done():
                answer.set_exception(InternalError("The voice detector's process has ended."))

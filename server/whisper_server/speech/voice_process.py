"""The server's end of one `voice_worker`: starts it, gives it pieces of sound, and notices its death."""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

from whisper_server.errors import InternalError
from whisper_server.process.children import own_child_environment
from whisper_server.speech.vad import Probabilities
from whisper_server.speech.voice_worker import HEADER, whole_pieces
from whisper_server.whisper.transcript import Samples

_LOG = logging.getLogger(__name__)

GATHERED_S = 0.01
"""Pieces of several sessions become one message, and so do their answers: each costs the event loop a system call."""
ANSWER_S = 30.0
"""A worker with sound to hear that sends no answer for so long is killed, after twice as long at the latest: it needs 2 s to start,
and 10 ms for a second of sound."""


class VoiceProcess(asyncio.Protocol):
    """A running worker. Each stream has at most one piece in it at a time."""

    def __init__(self, on_end: Callable[[VoiceProcess], None]) -> None:
        """`on_end` is called once after `start`, when the worker is gone or is about to be."""
        self.n_streams = 0
        self._on_end = on_end
        self._is_over = False
        self._n_answered = 0
        self._watching: asyncio.TimerHandle | None = None
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Probabilities]] = {}
        self._unsent: list[bytes] = []
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
                self._transport, _ = await asyncio.get_running_loop().create_connection(lambda: self, sock=ours)
            except BaseException:
                ours.close()
                self._kill()
                raise
        self._watch(-1)

    async def stop(self) -> None:
        """End it."""
        self.close()
        if self._process is not None:
            await self._process.wait()

    def close(self) -> None:
        """End it soon."""
        if self._transport is not None:
            self._transport.abort()

    def _kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    def new_stream(self) -> int:
        """Its number."""
        self.n_streams += 1
        return next(self._numbers)

    def end_stream(self, number: int) -> None:
        """Forget it."""
        self.n_streams -= 1
        self._waiting.pop(number, None)
        if self._transport is not None and not self._is_over:
            self._send(HEADER.pack(number, 0))

    async def add(self, number: int, samples: Samples) -> Probabilities:
        """Of the frames that are whole now. Raises InternalError if the worker is gone."""
        if self._is_over or self._transport is None:
            raise InternalError("The voice detector's process has ended.")
        answer: asyncio.Future[Probabilities] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._send(HEADER.pack(number, len(samples)), samples.tobytes())
        return await answer

    def _send(self, *parts: bytes) -> None:
        if not self._unsent:
            loop = asyncio.get_running_loop()
            loop.call_at(loop.time() + GATHERED_S, self._flush)
        self._unsent += parts

    def _flush(self) -> None:
        parts, self._unsent = self._unsent, []
        if self._transport is not None and not self._is_over:
            self._transport.write(b"".join(parts))

    def data_received(self, data: bytes) -> None:
        """Answers, in whatever pieces."""
        self._received += data
        for number, probabilities in whole_pieces(self._received):
            self._n_answered += 1
            answer = self._waiting.pop(number, None)
            if answer is not None and not answer.done():
                answer.set_result(probabilities)

    def _watch(self, n_answered: int) -> None:
        """Once in ANSWER_S: one timer, as a timeout for each of a thousand pieces a second takes the event loop's time."""
        if self._waiting and self._n_answered == n_answered:
            _LOG.error("A process of the voice detector does not answer for %g s; its sessions end", ANSWER_S)
            self.close()
            return
        before = self._n_answered if self._waiting else -1
        self._watching = asyncio.get_running_loop().call_later(ANSWER_S, self._watch, before)

    def connection_lost(self, error: Exception | None) -> None:
        """The worker has nothing but numbers to lose: it is killed. What waits fails."""
        del error
        self._is_over = True
        if self._watching is not None:
            self._watching.cancel()
        self._kill()
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            if not answer.done():
                answer.set_exception(InternalError("The voice detector's process has ended."))
        self._on_end(self)

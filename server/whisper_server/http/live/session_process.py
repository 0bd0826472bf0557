"""The server's end of one `session_worker`: starts it, hands sessions over, makes their passes, and notices its death."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

from aiohttp import hdrs, web

from whisper_server.api.realtime_session import SessionConfig
from whisper_server.errors import InternalError, Unavailable
from whisper_server.http.access_log import CLIENT_LEFT_STATUS
from whisper_server.http.in_flight import RECORD
from whisper_server.http.live.handed_session import HandedOver, HandedSession
from whisper_server.http.live.session_account import SessionAccount
from whisper_server.http.live.session_messages import (
    Alive,
    Closing,
    Cut,
    End,
    FromSession,
    Open,
    Ping,
    Start,
)
from whisper_server.http.live.session_wire import Handover, SharedSound, Wire
from whisper_server.http.live.socket import LINGER_S, SUBPROTOCOL
from whisper_server.live.ending import CloseCode
from whisper_server.live.speech_protocol import LiveSpeech
from whisper_server.process.children import own_child_environment

log = logging.getLogger(__name__)

MAX_SESSIONS = 256
"""Of one process: places in its memory, which take none while they are empty."""
START_S = 120.0
"""To its first answer: a worker imports for a second, and for half a minute where others hold the cores."""
ANSWER_S = 30.0
"""A worker that answers nothing for so long is killed, after twice as long at the latest."""
CLOSE_FRAME = b"\x88\x02" + CloseCode.INTERNAL.to_bytes(2, "big")
"""RFC 6455, section 5.5.1: of a session whose process has ended."""
HEADERS = frozenset((b"host", b"upgrade", b"connection", b"sec-websocket-version", b"sec-websocket-key"))
"""Of a request that its session needs."""


class SessionProcess:
    """A running worker."""

    def __init__(
        self,
        start: Start,
        speech: LiveSpeech,
        closing: asyncio.Event,
        *,
        on_end: Callable[[SessionProcess], None],
        on_free: Callable[[SessionProcess], None],
    ) -> None:
        """`on_end` is called once after `start`, when the worker is gone or is about to be; `on_free` at the end of each session."""
        self._start = start
        self._speech = speech
        self._closing = closing
        self._telling: asyncio.Task[None] | None = None
        self._on_end = on_end
        self._on_free = on_free
        self.max_lag_s = 0.0
        """Of its event loop, in the minute before it answered last."""
        self._has_answered = self._has_started = False
        self._watching: asyncio.TimerHandle | None = None
        self._numbers = itertools.count()
        self._places = list(range(MAX_SESSIONS))
        self._sessions: dict[int, HandedSession] = {}
        self._wire = Wire(self._take, self._lose)
        self._handover: Handover | None = None
        self._sound: SharedSound | None = None
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Raises OSError."""
        our_wire, their_wire = socket.socketpair()
        our_handover, their_handover = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        n_samples = self._start.facts.max_window_samples
        sound = SharedSound.create(MAX_SESSIONS, n_samples)
        theirs = (their_wire.fileno(), their_handover.fileno(), sound)
        self._handover, self._sound = Handover(our_handover), SharedSound(sound, MAX_SESSIONS, n_samples)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "whisper_server.http.live.session_worker"),
                *(str(number) for number in (*theirs, MAX_SESSIONS)),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=theirs,
                process_group=0,
                env=own_child_environment(),
            )
            await asyncio.get_running_loop().create_connection(lambda: self._wire, sock=our_wire)
        except BaseException:
            our_wire.close()
            self._handover.close()
            self._kill()
            raise
        finally:
            their_wire.close()
            their_handover.close()
            os.close(sound)
        self._wire.send(self._start)
        self._wire.send(Ping())
        self._telling = asyncio.create_task(self._tell_closing())
        self._watching = asyncio.get_running_loop().call_later(START_S, self._watch)

    async def serve(
        self, request: web.Request, behind: bytes, client: socket.socket, config: SessionConfig, account: SessionAccount
    ) -> web.StreamResponse:
        """One session, on a connection that is handed over. Raises OSError, Unavailable before its answer."""
        assert self._handover is not None
        assert self._sound is not None
        record, number = request[RECORD], next(self._numbers)
        response = HandedOver()
        await request.app.on_response_prepare.send(request, response)
        session = HandedSession(
            record.owner, account, self._speech, wire=self._wire, sound=self._sound, place=self._places.pop()
        )
        self._sessions[number] = session
        opened = Open(
            number,
            session.place,
            _head_of(request) + behind,
            dict(response.headers),
            config,
            record.owner,
            record.request_id,
            session.pace(),
        )
        is_handed = False
        try:
            await self._handover.send(opened, client)
            is_handed = True
            end = await session.end()
        except InternalError as error:
            if not session.is_upgraded:
                raise Unavailable("The session's process ended before the session began. Connect again.") from error
            record.error_code, record.is_closed = error.code or "", True
            await _close_lost(request)
            return response
        finally:
            if not is_handed:
                self._free(number)  # the process does not know it
            elif session.cancel():
                self._wire.send(Cut(number))
        record.audio_s, record.error_code, record.is_closed = end.audio_s, end.error_code, end.is_closed
        record.refusal_reason = end.refusal_reason
        response.set_status(CLIENT_LEFT_STATUS if end.status is None else end.status)
        return response

    @property
    def n_sessions(self) -> int:
        return len(self._sessions)

    async def stop(self) -> None:
        """End it, and with it its sessions."""
        self.close()
        if self._process is not None:
            await self._process.wait()

    def close(self) -> None:
        """End it soon."""
        self._wire.close()

    async def _tell_closing(self) -> None:
        await self._closing.wait()
        self._wire.send(Closing())

    def _take(self, message: object) -> None:
        self._has_answered = True
        match message:
            case Alive(max_lag_s):
                self.max_lag_s = max_lag_s
                if not self._has_started and self._watching is not None:
                    self._has_started = True
                    self._watching.cancel()
                    self._watch()
            case _ if isinstance(message, FromSession) and (session := self._sessions.get(message.number)):
                session.take(message)
                if isinstance(message, End):
                    self._free(message.number)

    def _free(self, number: int) -> None:
        if session := self._sessions.pop(number, None):
            self._places.append(session.place)
            self._on_free(self)

    def _watch(self) -> None:
        if not self._has_answered:
            limit_s = ANSWER_S if self._has_started else START_S
            log.error("A process of realtime sessions does not answer for %g s; its sessions end", limit_s)
            self.close()
            return
        self._has_answered = False
        self._wire.send(Ping())
        self._watching = asyncio.get_running_loop().call_later(ANSWER_S, self._watch)

    def _lose(self) -> None:
        """The worker is gone, or is to go. Its sessions' clients connect again."""
        if self._watching is not None:
            self._watching.cancel()
        if self._telling is not None:
            self._telling.cancel()
        if self._handover is not None:
            self._handover.close()
        self._kill()
        for session in self._sessions.values():
            session.lose()
        self._on_end(self)
        self._sessions.clear()

    def _kill(self) -> None:
        # `Process.kill` may take the exit status, and asyncio warns then that it has none.
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)


async def _close_lost(request: web.Request) -> None:
    """Close a session whose process is gone. What its client still sends is read, else its kernel drops the close frame."""
    assert isinstance(request.transport, asyncio.Transport)
    request.transport.write(CLOSE_FRAME)
    request.transport.resume_reading()
    await asyncio.sleep(LINGER_S)


def _head_of(request: web.Request) -> bytes:
    """The request without what is not for a session's process: keys, which may be among the subprotocols, and heads of any size."""
    lines = [b"GET %s HTTP/%d.%d" % (request.rel_url.raw_path.encode(), *request.version)]
    lines += [name + b": " + value for name, value in request.raw_headers if name.lower() in HEADERS]
    offered = request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, [])
    if SUBPROTOCOL in {one.strip() for given in offered for one in given.split(",")}:
        lines.append(f"{hdrs.SEC_WEBSOCKET_PROTOCOL}: {SUBPROTOCOL}".encode())
    return b"\r\n".join([*lines, b"", b""])

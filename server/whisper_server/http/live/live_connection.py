"""One session on its WebSocket: reads frames, and decides when and with what code the connection ends.

`live.session` has what the session does.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass, field

from aiohttp import WSMsgType, web

from whisper_server.api.realtime_client_events import AppendAudio, ClientEvent, EventRefused, parse_event
from whisper_server.api.realtime_server_events import Failure
from whisper_server.api.realtime_session import SessionConfig
from whisper_server.errors import ApiError, BadRequest, Draining
from whisper_server.http.error_responses import internal_error
from whisper_server.http.in_flight import RECORD
from whisper_server.http.live.session_account import Account
from whisper_server.http.live.socket import EventSocket
from whisper_server.http.loop_throttle import LoopThrottle
from whisper_server.live.ending import CloseCode, SessionIdle, SessionOver
from whisper_server.live.session import Session, SessionHooks
from whisper_server.live.session_options import SessionRules
from whisper_server.live.speech_protocol import LiveSpeech
from whisper_server.process.event_loop import cancel

log = logging.getLogger(__name__)

FINISH_TURN_S = 10.0
"""At a drain, the turn under way may go on for so long."""
CLOSE_S = 2.0
"""Before SHUTDOWN_SECONDS are over: then the server cuts off what is still there, which a client takes for a fault."""
FRAMES_PER_ITERATION = 32
"""Each takes a twentieth to a fifth of a millisecond. 200 sessions send 2,000 a second, 100 telephones 5,000: with 8 they fell behind where
other work makes iterations of 2 or 3 ms. In a process of sessions, pings and the ends of sessions come in between."""
MAX_REFUSED_IN_A_ROW = 50
"""Events that cannot be acted on, before the session ends."""


@dataclass(frozen=True)
class SessionTerms:
    """The administrator's, of all sessions."""

    rules: SessionRules
    idle_s: float
    """Without sound, before a session is closed (REALTIME_IDLE_SECONDS)."""
    shutdown_s: float
    """What requests in flight have at the end (SHUTDOWN_SECONDS)."""


@dataclass(frozen=True)
class SessionHost:
    """What the sessions of a process share."""

    terms: SessionTerms
    closing: asyncio.Event
    """The server is about to end."""
    throttle: LoopThrottle = field(default_factory=lambda: LoopThrottle(FRAMES_PER_ITERATION))
    """Limits the frames that are taken."""


class LiveConnection:
    """The session of one client."""

    def __init__(self, request: web.Request, host: SessionHost, speech: LiveSpeech, account: Account) -> None:
        self._request = request
        self._record = request[RECORD]
        self._host = host
        self._speech = speech
        self._account = account
        self._socket = EventSocket(request)
        self._sound_at_s = time.monotonic()
        """When the last of it came, or the session began."""
        self._is_taking = False
        """An event is under way: a client whose sound waits for the voice detector is not idle."""

    async def serve(self, config: SessionConfig) -> web.StreamResponse:
        """Until the client leaves or the session is ended."""
        session = Session(
            f"sess_{secrets.token_hex(12)}",
            config,
            self._speech,
            self._host.terms.rules,
            SessionHooks(self._socket.emit, self._account.count, self._account.note_delay),
            owner=self._record.owner,
            clock=time.monotonic,
        )
        await self._socket.prepare(self._request)
        session.begin()
        sending = asyncio.create_task(self._socket.send_events())
        reading = asyncio.create_task(self._read(session))
        passes = asyncio.create_task(session.run())
        idling = asyncio.create_task(self._end_when_idle())
        draining = asyncio.create_task(self._host.closing.wait())
        tasks = (sending, reading, passes, idling, draining)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if draining.done() and not any(task.done() for task in (sending, reading, passes, idling)):
                await asyncio.wait(
                    (sending, reading, passes, finishing := asyncio.create_task(session.finish(FINISH_TURN_S))),
                    timeout=max(0.0, self._host.terms.shutdown_s - CLOSE_S),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                await cancel(finishing)
            over = self._end_of(sending, reading, passes, idling)
            if over is not None:
                self._record.error_code = over.error.code or str(over.error.status)
                self._record.is_closed = True
                if sending.done():  # with a fault of ours: nothing more is sent
                    await self._socket.close(code=over.code)
                else:
                    # While a task reads, aiohttp's close does not wait for the client's close frame: what the client still
                    # sends would reset the connection, and with it what it has not read.
                    await cancel(reading)
                    self._socket.emit(Failure(over.error))
                    await self._socket.end(over.code, over.error.code or "")
        finally:
            await cancel(*tasks)
            self._record.audio_s = session.audio_s
        return self._socket

    def _end_of(self, sending: asyncio.Task[None], *others: asyncio.Task[None]) -> SessionOver | None:
        """Why the session ends; None: the client has left."""
        if sending.done() and isinstance(sending.exception(), ConnectionError):
            return None
        for task in (sending, *others):
            if not task.done():
                continue
            problem = task.exception()
            if problem is None:
                return None
            if isinstance(problem, SessionOver):
                return problem
            if self._host.closing.is_set():
                # A second signal has cut it off from the engine or from the voice detector, or there is a fault of ours.
                log.warning("Realtime session cut off by the shutdown: %r", problem)
                break
            if not isinstance(problem, ConnectionError):
                log.error("Realtime session failed", exc_info=problem)
            return SessionOver(internal_error(), CloseCode.INTERNAL)
        return SessionOver(
            Draining("The server is shutting down. Connect again; send the sound since the last turn again."),
            CloseCode.RESTART,
        )

    async def _read(self, session: Session) -> None:
        """Take the client's events until it leaves. Raises SessionOver."""
        n_refused = 0
        while True:
            message = await self._socket.receive()
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                if message.type is WSMsgType.CLOSE:
                    self._record.is_closed = True
                return
            await self._host.throttle.acquire()
            event_id: str | None = None
            try:
                if message.type is WSMsgType.BINARY:
                    raise BadRequest(
                        "Send events as JSON in text frames; sound goes into input_audio_buffer.append, in base64.",
                        param="audio",
                    )
                event = parse_event(message.data)
                event_id = event.event_id
                await self._take(session, event)
                n_refused = 0
            except EventRefused as refused:
                n_refused = self._refuse(refused.error, refused.event_id, n_refused)
            except ApiError as error:
                n_refused = self._refuse(error, event_id, n_refused)

    async def _take(self, session: Session, event: ClientEvent) -> None:
        self._is_taking, began_s = True, time.monotonic()
        try:
            await session.take(event)
        finally:
            self._is_taking, ended_s = False, time.monotonic()
            has_sound = isinstance(event, AppendAudio) and bool(event.audio)
            self._sound_at_s = ended_s if has_sound else self._sound_at_s + ended_s - began_s

    async def _end_when_idle(self) -> None:
        """Wait until no sound has come for too long. Raises SessionOver."""
        idle_s = self._host.terms.idle_s
        # Not a timeout around each of ten frames a second.
        while True:
            rest_s = self._sound_at_s + idle_s - time.monotonic()
            if rest_s <= 0 and not self._is_taking:
                raise SessionOver(SessionIdle(idle_s), CloseCode.NORMAL)
            await asyncio.sleep(max(rest_s, 1.0 if self._is_taking else 0.0))

    def _refuse(self, error: ApiError, event_id: str | None, n_refused: int) -> int:
        """Send the refusal of an event; the number of those in a row. Raises SessionOver for too many."""
        if n_refused >= MAX_REFUSED_IN_A_ROW:
            raise SessionOver(error, CloseCode.POLICY)
        self._account.note_refusal(error)
        self._socket.emit(Failure(error, event_id))
        return n_refused + 1

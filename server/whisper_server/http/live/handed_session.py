"""A session that another process has: what it asks of the server's process, and its end."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Coroutine
from typing import TypeVar

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from whisper_server.errors import ApiError, InternalError
from whisper_server.http.error_responses import internal_error
from whisper_server.http.live.session_account import SessionAccount
from whisper_server.http.live.session_messages import (
    Count,
    Counted,
    Delay,
    End,
    FromSession,
    Pace,
    Pass,
    PassDone,
    Refused,
    Release,
    Slot,
    SlotHeld,
    TurnEnd,
    TurnEndDone,
    Upgraded,
)
from whisper_server.http.live.session_wire import SharedSound, Wire
from whisper_server.live.speech_protocol import LiveSpeech
from whisper_server.speech.live_windows import Turns

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class HandedOver(web.StreamResponse):
    """The answer of a request that another process has answered: nothing is sent here."""

    def __init__(self, status: int = 101) -> None:
        super().__init__(status=status)
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        del request
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        del data


class HandedSession:
    """One session."""

    def __init__(
        self, owner: str, account: SessionAccount, speech: LiveSpeech, *, wire: Wire, sound: SharedSound, place: int
    ) -> None:
        """`place`: of its sound in the shared memory."""
        self.place = place
        self._owner = owner
        self._account = account
        self._speech = speech
        self._wire = wire
        self._sound = sound
        self.is_upgraded = False
        """The client has its answer."""
        self._ended: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._context = contextvars.copy_context()  # of its request: log lines have its id
        self._asked: set[asyncio.Task[None]] = set()
        self._pass: asyncio.Future[Pass | Release] | None = None
        """What it does with the slot that it holds or waits for."""

    async def end(self) -> End:
        """Wait for it. Raises InternalError if its process is gone."""
        return await self._ended

    def cancel(self) -> bool:
        """Stop what it has asked for. True: its process does not know that it is over."""
        for task in self._asked:
            task.cancel()
        return not self._ended.done() or self._ended.cancelled()

    def lose(self) -> None:
        """Its process is gone."""
        if not self._ended.done():
            self._ended.set_exception(InternalError("The session's process has ended."))
            self._ended.exception()  # retrieved: while its socket is on its way, nothing waits for its end

    def take(self, message: FromSession) -> None:
        """What its process has sent."""
        match message:
            case Upgraded():
                self.is_upgraded = True
            case Count(number, audio_s, n_bytes):
                self._wire.send(Counted(number, self._refusal(audio_s, n_bytes)))
            case Slot():
                self._run(self._hold_slot(message))
            case Pass() | Release() if self._pass is not None and not self._pass.done():
                self._pass.set_result(message)
            case TurnEnd():
                self._run(self._turn_end(message))
            case Delay(_, delay_s):
                self._account.note_delay(delay_s)
            case Refused(_, error):
                self._account.note_refusal(error)
            case End():
                self._refusal(message.uncounted_s, 0)
                self._sound.free(self.place)
                if not self._ended.done():
                    self._ended.set_result(message)

    def pace(self) -> Pace:
        """Of the engine."""
        return Pace(self._speech.pass_s, self._speech.window_s())

    def _refusal(self, audio_s: float, n_bytes: int) -> ApiError | None:
        try:
            self._account.take(audio_s, n_bytes)
        except ApiError as error:
            return error
        return None

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work, context=self._context)
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def _hold_slot(self, message: Slot) -> None:
        self._pass = asyncio.get_running_loop().create_future()
        async with self._speech.slot(Turns(self._owner, self, is_urgent=message.is_urgent)) as transcribe:
            self._wire.send(SlotHeld(message.number, self.pace()))
            asked = await self._pass
            if isinstance(asked, Pass):
                samples = self._sound.window(self.place, asked.n_samples)
                result = await _result(transcribe(samples, asked.request))
                self._wire.send(PassDone(message.number, result, self.pace()))

    async def _turn_end(self, message: TurnEnd) -> None:
        # A copy, as the detector's thread may outlive the session.
        samples = self._sound.turn_end(self.place, message.n_samples).copy()
        self._wire.send(
            TurnEndDone(message.number, await _result(self._speech.turn_end(samples, Turns(self._owner, self))))
        )


async def _result(asked: Awaitable[Result]) -> Result | ApiError:
    """Or why there is none: no fault of a pass may leave its session waiting."""
    try:
        return await asked
    except ApiError as error:
        return error
    except Exception:
        log.exception("A pass of a realtime session failed")
        return internal_error()

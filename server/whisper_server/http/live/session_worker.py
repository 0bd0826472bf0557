"""A process of realtime sessions: `python -P -m whisper_server.http.live.session_worker WIRE HANDOVER SOUND PLACES`.

It takes the sockets of sessions that the server's process has admitted, and does all but passes of the engine. 200 sessions took 0.7 of
the server's event loop, three quarters of it for frames and the detection of turns. `session_process` has the server's end.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from http import HTTPStatus
from typing import cast

from aiohttp import hdrs, web

from whisper_server.audio.sandbox import forbid_memory_access
from whisper_server.http.connection import Connection, ConnectionTimes
from whisper_server.http.in_flight import RECORD
from whisper_server.http.live.live_connection import LiveConnection, SessionHost
from whisper_server.http.live.remote_speech import RemoteAccount, RemoteSpeech
from whisper_server.http.live.session_messages import (
    Alive,
    Closing,
    Counted,
    Cut,
    End,
    Open,
    PassDone,
    Ping,
    SlotHeld,
    Start,
    TurnEndDone,
    Upgraded,
)
from whisper_server.http.live.session_wire import SharedSound, Wire, receive_socket
from whisper_server.http.protocol import HttpRunner
from whisper_server.memory.malloc import freeze_loaded_objects
from whisper_server.process.event_loop import LagMeter, running
from whisper_server.process.logs import REQUEST_ID, configure_logging

log = logging.getLogger(__name__)

LOST_S = 1.0
"""After which it is noticed that a client left before its request was read."""


class SessionWorker:
    """The sessions of this process."""

    def __init__(self, handover: socket.socket) -> None:
        self.wire = Wire(self._take, self._end)
        self.started: asyncio.Future[Start] = asyncio.get_running_loop().create_future()
        self._handover = handover
        self._lag = LagMeter()
        self._closing = asyncio.Event()
        self._opened: dict[Connection, Open] = {}
        self._speeches: dict[int, RemoteSpeech] = {}
        self._accounts: dict[int, RemoteAccount] = {}
        self._adopting: set[asyncio.Task[None]] = set()

    async def run(self, sound_descriptor: int, n_places: int) -> None:
        """Serve sessions, until the end of the process. Raises StartError."""
        start = await self.started
        forbid_memory_access()
        configure_logging(start.log_format, start.log_level)
        start.facts.new_voice()  # its model
        self._facts = start.facts
        self._sound = SharedSound(sound_descriptor, n_places, start.facts.max_window_samples)
        self._host = SessionHost(start.terms, self._closing)
        app = web.Application()
        app.router.add_get("/{path:.*}", self._session)
        app.on_response_prepare.append(self._add_headers)
        runner = HttpRunner(
            app, add_common_headers=self._add_to, observer=self, times=ConnectionTimes(), max_connections=sys.maxsize
        )
        await runner.setup()
        self._server = runner.http_server
        freeze_loaded_objects()
        asyncio.get_running_loop().add_reader(self._handover, self._receive)
        async with running(self._lag.run()):
            while True:
                await asyncio.sleep(LOST_S)
                self._end_lost()

    def _receive(self) -> None:
        while (received := receive_socket(self._handover)) is not None:
            task = asyncio.create_task(self._adopt(*received))
            self._adopting.add(task)
            task.add_done_callback(self._adopting.discard)

    async def _adopt(self, opened: Open, client: socket.socket) -> None:
        try:
            client.setblocking(False)  # noqa: FBT003 - its only argument
            _, connection = await asyncio.get_running_loop().connect_accepted_socket(self._server, client)
        except OSError as problem:
            client.close()
            log.debug("A client left before its session began: %s", problem)
            self.wire.send(_lost(opened.number))
            return
        self._opened[connection] = opened
        connection.data_received(opened.head)

    async def _session(self, request: web.Request) -> web.StreamResponse:
        opened = self._opened[cast("Connection", request.protocol)]
        request[RECORD].request_id, request[RECORD].owner = opened.request_id, opened.owner
        REQUEST_ID.set(opened.request_id)
        speech = RemoteSpeech(self._facts, opened, self.wire, self._sound)
        account = RemoteAccount(opened.number, self.wire)
        self._speeches[opened.number], self._accounts[opened.number] = speech, account
        return await LiveConnection(request, self._host, speech, account).serve(opened.config)

    async def _add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        self._add_to(request, response)
        if response.status == HTTPStatus.SWITCHING_PROTOCOLS:
            self.wire.send(Upgraded(self._opened[cast("Connection", request.protocol)].number))

    def _add_to(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        response.headers.update(self._opened[cast("Connection", request.protocol)].headers)
        if response.status != HTTPStatus.SWITCHING_PROTOCOLS:  # one request, that of the session
            response.force_close()
            response.headers[hdrs.CONNECTION] = "close"

    def begun(self, request: web.BaseRequest) -> None:
        """As RequestObserver has it: the server's process counts requests."""

    def ended(self, request: web.BaseRequest, response: web.StreamResponse | None) -> None:
        """As RequestObserver has it: the session is over."""
        record, number = request[RECORD], self._opened.pop(cast("Connection", request.protocol)).number
        self._speeches.pop(number, None)
        account = self._accounts.pop(number, None)
        end = End(
            number,
            None if response is None else response.status,
            0.0 if account is None else account.uncounted_s,
            record.audio_s,
            record.error_code,
            record.refusal_reason,
            is_closed=record.is_closed,
        )
        self.wire.send(end)

    def _end_lost(self) -> None:
        """Those that left before their request was read: no handler has begun."""
        for connection, opened in list(self._opened.items()):
            if connection.transport is None and self._server.in_flight.on(connection) is None:
                del self._opened[connection]
                self.wire.send(_lost(opened.number))

    def _take(self, message: object) -> None:
        match message:
            case Start():
                self.started.set_result(message)
            case Counted(number) if account := self._accounts.get(number):
                account.take(message)
            case SlotHeld(number) | PassDone(number) | TurnEndDone(number) if speech := self._speeches.get(number):
                speech.take(message)
            case Cut(number):
                for connection, opened in self._opened.items():
                    if opened.number == number:
                        connection.force_close()
            case Closing():
                self._closing.set()
            case Ping():
                self.wire.send(Alive(self._lag.max_s()))

    def _end(self) -> None:
        """The server is gone, or wants no more sessions here."""
        os._exit(0)


def _lost(number: int) -> End:
    return End(number, None, 0.0, 0.0, "", "", is_closed=False)


async def serve(wire: socket.socket, handover: socket.socket, sound_descriptor: int, n_places: int) -> None:
    """Until the end of the process. Raises StartError."""
    handover.setblocking(False)  # noqa: FBT003 - its only argument
    worker = SessionWorker(handover)
    await asyncio.get_running_loop().create_connection(lambda: worker.wire, sock=wire)
    await worker.run(sound_descriptor, n_places)


if __name__ == "__main__":
    ours, handed, shared, places = map(int, sys.argv[1:])
    asyncio.run(serve(socket.socket(fileno=ours), socket.socket(fileno=handed), shared, places))

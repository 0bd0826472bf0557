"""Realtime sessions in processes of their own: the same events, counts and ends as in the server's, and faults that stay theirs."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import logging
import os
import socket
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil
import pytest

from http_kit.doubles import Doubles
from http_kit.running import running, talk, until
from live_kit.clients import TRANSCRIPTION, Client, come_and_go, connected, session, silence, tone
from live_kit.doubles import LiveSpeechDouble
from server_kit.process import command_of
from whisper_runtime.memory import SESSION_PROCESS_BYTES
from whisper_server.errors import ENGINE_DEAD, InternalError, Unavailable
from whisper_server.fairness.fair_semaphore import FairSemaphore
from whisper_server.http.live import session_process, session_processes
from whisper_server.http.live.session_account import SESSION_BYTES
from whisper_server.http.live.session_messages import Open
from whisper_server.http.live.session_wire import Handover
from whisper_server.process.event_loop import cancel

WORKER = "whisper_server.http.live.session_worker"


@pytest.fixture(autouse=True)
def no_session_in_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_processes, "LOCAL_SESSIONS", 0)


def workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if WORKER in command_of(child)]


async def two_turns(client: Client) -> list[tuple[str, object]]:
    """What is heard of them, without ids."""
    for _ in range(2):
        await client.speak(tone(1.1) + silence(1.0))
        await client.until(f"{TRANSCRIPTION}.completed")
    return [(event["type"], event.get("transcript") or event.get("audio_end_ms")) for event in client.events]


async def test_a_session_is_the_same_as_in_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = LiveSpeechDouble(), LiveSpeechDouble()
    async with session(there) as client:
        remote = await two_turns(client)
        assert len(workers()) == 1
    assert not workers()
    monkeypatch.setattr(session_processes, "LOCAL_SESSIONS", 8)
    async with session(here) as client:
        local = await two_turns(client)
        assert not workers()
    kinds = [[each for each in heard if not each[0].endswith("delta")] for heard in (remote, local)]
    assert kinds[0] == kinds[1]
    assert np.array_equal(here.windows[-1], there.windows[-1]), "the sound of the last pass"
    assert here.requests[-1] == there.requests[-1]
    assert here.turns[-1].is_urgent == there.turns[-1].is_urgent


PLACES = pytest.mark.parametrize("n_local", [8, 0], ids=["in the server", "in a process"])


@PLACES
async def test_a_pass_hears_what_came_while_it_waited_for_the_engine(
    n_local: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_processes, "LOCAL_SESSIONS", n_local)
    live = LiveSpeechDouble(slots=FairSemaphore(1))
    async with session(live) as client:
        async with live.slots.slot("another session"):
            await client.speak(tone(1.0))
            await until(lambda: live.slots.n_waiting == 1)
            await client.speak(tone(1.0) + silence(1.0))
            await client.until("input_audio_buffer.speech_stopped")
            assert not live.requests
        assert (await client.until(f"{TRANSCRIPTION}.completed"))["transcript"] == "w0 w1 w2 w3"
        assert [request.is_final for request in live.requests] == [True], "one pass, over all of it"
        await until(lambda: not live.slots.n_held)


@PLACES
async def test_a_pass_that_waits_takes_nothing_once_its_sound_is_cleared(
    n_local: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_processes, "LOCAL_SESSIONS", n_local)
    live = LiveSpeechDouble(slots=FairSemaphore(1))
    async with session(live) as client:
        async with live.slots.slot("another session"):
            await client.speak(tone(1.0))
            await until(lambda: live.slots.n_waiting == 1)
            await client.send("input_audio_buffer.clear")
            await client.until("input_audio_buffer.cleared")
        await until(lambda: not live.slots.n_held)
        assert not live.requests
        await client.speak(tone(1.0) + silence(1.0))
        assert (await client.until(f"{TRANSCRIPTION}.completed"))["transcript"] == "w0 w1"


@PLACES
async def test_a_client_that_leaves_takes_no_turn_of_the_engine(n_local: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_processes, "LOCAL_SESSIONS", n_local)
    live = LiveSpeechDouble(slots=FairSemaphore(1), hold=asyncio.Event())
    async with running(Doubles(live=live)) as server:
        async with connected(server) as first, connected(server) as second:
            await first.speak(tone(1.0))
            await until(lambda: len(live.requests) == 1)
            await second.speak(tone(1.0))
            await until(lambda: live.slots.n_waiting == 1)
        await until(lambda: not live.slots.n_waiting and not live.slots.n_held)
        assert len(live.requests) == 1


async def test_a_process_that_dies_holds_no_slot_of_the_engine() -> None:
    live = LiveSpeechDouble(slots=FairSemaphore(1), hold=asyncio.Event())
    async with running(Doubles(live=live)) as server:
        async with connected(server) as first, connected(server) as second:
            await first.speak(tone(1.0))
            await until(lambda: len(live.requests) == 1)
            await second.speak(tone(1.0))
            await until(lambda: live.slots.n_waiting == 1)
            (worker,) = workers()
            worker.kill()
            assert [await client.closing_code() for client in (first, second)] == [1011, 1011]
        await until(lambda: not live.slots.n_waiting and not live.slots.n_held)


async def test_sound_delays_and_refusals_are_counted_by_the_server(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running() as server:
        async with connected(server, headers={"x-request-id": "mine"}) as client:
            assert client.socket._response.headers["x-request-id"] == "mine"
            await client.speak(tone(2.2) + silence(1.0))
            await client.until(f"{TRANSCRIPTION}.completed")
            await client.socket.send_str("nonsense")
            await client.until("error")
        await until(lambda: not len(server.http.in_flight))
        metrics = server.state.metrics
        assert metrics.audio_seconds._value.get() == pytest.approx(3.2)
        assert metrics.realtime_delta_seconds._sum.get() > 0
        assert metrics.rejected.labels("invalid_json")._value.get() == 1
        assert server.state.budget.held_bytes("127.0.0.1") == 0
    (line,) = [record for record in caplog.records if "/v1/realtime" in record.getMessage()]
    assert line.getMessage() == "GET /v1/realtime 101"
    fields = line.__dict__["fields"]
    assert (fields["request_id"], fields["audio_s"]) == ("mine", 3.2)


async def test_limits_end_the_session_as_in_the_server() -> None:
    async with session(MAX_AUDIO_SECONDS_PER_MINUTE="2") as client:
        for _ in range(4):
            await client.speak(tone(1.0))
        assert await client.closing_code() == 1008
        assert client.events[-1]["error"]["code"] == "rate_limit_exceeded"
    async with session(REALTIME_IDLE_SECONDS="1") as client:
        await client.send("input_audio_buffer.clear")
        assert await client.closing_code() == 1000
        assert client.events[-1]["error"]["code"] == "session_idle"


async def test_memory_that_the_budget_lacks_ends_the_session() -> None:
    live = LiveSpeechDouble(hold=asyncio.Event())
    async with session(
        live, MEMORY_BUDGET_BYTES=str(SESSION_PROCESS_BYTES + 16 * 2**20), MAX_AUDIO_SECONDS="10"
    ) as client:
        await client.until("session.created")
        assert workers()
        for _ in range(9):
            await client.speak(tone(10.0))
        assert await client.closing_code() == 1008
    assert "MEMORY_BUDGET_BYTES" in client.events[-1]["error"]["message"]


async def test_end_of_turn_detector_is_asked_in_the_server() -> None:
    live = LiveSpeechDouble(turn_ends=[0.9])
    async with session(live) as client:
        await client.update(turn_detection={"type": "semantic_vad", "eagerness": "low"})
        await client.speak(tone(1.1) + silence(0.6))
        assert (await client.until(f"{TRANSCRIPTION}.completed"))["transcript"] == "w0 w1"
    assert len(live.asked_of_turn_ends) == 1


async def test_failed_passes_reach_the_client() -> None:
    live = LiveSpeechDouble(error=InternalError("The engine failed."))
    async with session(live) as client:
        await client.speak(tone(1.0) + silence(1.0))
        assert (await client.until(f"{TRANSCRIPTION}.failed"))["error"]["message"] == "The engine failed."
        if "input_audio_buffer.committed" not in client.types:
            await client.until("input_audio_buffer.committed")
        live.error = RuntimeError("a fault of ours")
        await client.speak(tone(1.0) + silence(1.0))
        assert (await client.until(f"{TRANSCRIPTION}.failed"))["error"]["code"] == "internal_error"
        live.error = Unavailable("The engine is dead.", code=ENGINE_DEAD)
        await client.speak(tone(1.0) + silence(1.0))
        assert await client.closing_code() == 1011
    assert client.events[-1]["error"]["code"] == ENGINE_DEAD


async def test_drain_finishes_the_turn_and_closes_with_1012() -> None:
    async with running() as server, connected(server) as client:
        await client.speak(tone(1.1))
        await client.until("input_audio_buffer.speech_started")
        server.service.closing.set()
        await client.speak(silence(1.0))
        assert await client.closing_code() == 1012
    assert client.types[-2:] == ["completed", "error"]
    assert client.events[-2]["transcript"] == "w0 w1"


async def test_death_of_a_process_ends_its_sessions_only(caplog: pytest.LogCaptureFixture) -> None:
    live = LiveSpeechDouble(hold=asyncio.Event())
    assert live.hold is not None
    async with running(Doubles(live=live)) as server:
        async with connected(server) as client:
            await client.speak(tone(1.1))
            await until(lambda: live.requests)
            (worker,) = workers()
            worker.kill()
            assert await client.closing_code() == 1011
        await until(lambda: not len(server.http.in_flight))
        assert server.state.budget.used_bytes == 0
        assert server.state.live_sessions.n_open == 0
        live.hold.set()
        async with connected(server) as client:
            assert ("input_audio_buffer.committed", None) in await two_turns(client)
    assert "A process of realtime sessions has ended, and with it 1 sessions" in caplog.text
    (line,) = [record for record in caplog.records if "has ended, and with it" in record.getMessage()]
    assert not line.__dict__.get("fields", {}).get("request_id"), "it is no request's"


async def test_process_that_dies_before_the_answer_is_no_fault_of_the_session() -> None:
    async with running() as server:
        async with connected(server) as client:
            await client.until("session.created")
            (worker,) = workers()
            worker.suspend()
            connecting = asyncio.create_task(_created(server))
            await until(lambda: server.state.live_sessions.n_open == 2)
            await asyncio.sleep(0.1)
            worker.kill()
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await connecting
        assert refused.value.status == 503
        await until(lambda: not server.http.connections)


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Asks the process that was started last whether it still answers; by itself the server does not."""
    monkeypatch.setattr(session_process, "ANSWER_S", 3600.0)
    due: list[Callable[[], None]] = []
    watch = session_process.SessionProcess._watch

    def watched(self: session_process.SessionProcess) -> None:
        due.append(partial(watch, self))
        watch(self)

    def ask_now() -> None:
        due[-1]()

    monkeypatch.setattr(session_process.SessionProcess, "_watch", watched)
    return ask_now


async def test_process_that_does_not_answer_is_killed(ask: Callable[[], None]) -> None:
    async with session() as client:
        await client.until("session.created")
        ask()
        await client.speak(tone(1.1) + silence(1.0))
        await client.until(f"{TRANSCRIPTION}.completed")
        ask()  # it has answered in between
        (worker,) = workers()
        worker.suspend()
        ask()
        assert await client.closing_code() == 1011
        await asyncio.to_thread(worker.wait, 60)


async def test_process_that_does_not_start_is_killed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It has longer than one that has started: where others hold the cores, imports take half a minute."""
    monkeypatch.setattr(session_process, "START_S", 0.001)
    async with running() as server:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await _created(server)
        assert refused.value.status == 503
        assert server.state.budget.used_bytes == 0
    assert "does not answer for 0.001 s" in caplog.text


async def test_lag_of_a_process_is_measured(ask: Callable[[], None]) -> None:
    async with running() as server, connected(server) as client:
        lag_s = server.state.metrics.event_loop_lag_seconds._child_samples
        await client.until("session.created")
        (worker,) = workers()
        worker.suspend()
        await asyncio.sleep(2.0)
        worker.resume()
        await client.speak(tone(1.1) + silence(1.0))
        await client.until(f"{TRANSCRIPTION}.completed")  # its loop has gone round
        ask()
        await until(lambda: next(iter(lag_s())).value >= 1.0)


async def test_clients_that_leave_leave_nothing_behind() -> None:
    async with running() as server:
        for first in range(0, 100, 10):
            await asyncio.gather(*(come_and_go(server, first + number) for number in range(10)))
            await until(lambda: server.state.live_sessions.n_open == 0)
        await until(lambda: server.state.live_sessions.n_open == 0 and not len(server.http.in_flight))
        assert server.state.budget.used_bytes == SESSION_PROCESS_BYTES
        assert server.state.slots.n_taken == 0
        await until(lambda: not server.http.connections)
        (worker,) = workers()
        # No socket of a client is left, in either process.
        await until(lambda: not [each for each in worker.net_connections() if each.laddr.port == server.port])
        n_before = worker.num_fds()
        await asyncio.gather(*(come_and_go(server, number) for number in range(10)))
        await until(lambda: not len(server.http.in_flight) and worker.num_fds() <= n_before)


async def test_no_key_reaches_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "alice").write_text("alices-secret-key")
    handed: list[Open] = []

    send = Handover.send

    async def noted(self: Handover, opened: Open, client: socket.socket) -> None:
        handed.append(opened)
        await send(self, opened, client)

    monkeypatch.setattr(Handover, "send", noted)
    async with running(API_KEYS_DIR=str(tmp_path)) as server:
        headers = {"Authorization": "Bearer alices-secret-key", "Cookie": "a=b"}
        for options in ({"protocols": ("realtime", "openai-insecure-api-key.alices-secret-key")}, {"headers": headers}):
            async with connected(server, **options) as client:
                await client.until("session.created")
                assert client.socket.protocol == ("realtime" if "protocols" in options else None)
    assert len(handed) == 2
    assert not [opened for opened in handed if b"secret" in opened.head.lower() or b"cookie" in opened.head.lower()]
    assert {opened.owner for opened in handed} == {"key alice"}


async def test_handshake_that_is_wrong_is_refused() -> None:
    async with running() as server:
        head = b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        answer = await talk(server.port, head)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"Sec-WebSocket-Key of 16 bytes" in answer
        assert b"invalid_request_error" in answer
        await until(lambda: not len(server.http.in_flight))


async def test_frames_right_behind_the_handshake_are_taken() -> None:
    """A client may not send any before the answer; one that does loses nothing. The process starts in the meantime, and a message
    with a socket takes 200 KB at most.
    """
    head = (
        b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n" % base64.b64encode(os.urandom(16))
    )
    text = json.dumps({"type": "input_audio_buffer.commit", "event_id": "early"}).encode()
    frame = struct.pack(">BB4s", 0x81, 0x80 | len(text), bytes(4)) + text
    filling = struct.pack(">BBQ4s", 0x81, 0xFF, 900_000, bytes(4)) + b" " * 900_000
    async with running() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head + filling + frame)
        async with asyncio.timeout(30):
            await reader.readuntil(b"early")
        writer.close()


async def test_process_is_held_from_the_memory_budget_and_ends_without_sessions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_processes, "IDLE_S", 0.05)
    async with running() as server:
        for _ in range(2):
            async with connected(server) as client:
                await client.until("session.created")
                assert server.state.budget.used_bytes == SESSION_PROCESS_BYTES + SESSION_BYTES
                assert len(workers()) == 1
            await until(lambda: not server.state.budget.used_bytes and not workers())


async def test_without_memory_for_a_process_sessions_are_in_the_server() -> None:
    async with session(MEMORY_BUDGET_BYTES=str(SESSION_PROCESS_BYTES - 1), MAX_AUDIO_SECONDS="10") as client:
        await client.speak(tone(1.1) + silence(1.0))
        await client.until(f"{TRANSCRIPTION}.completed")
        assert not workers()


async def test_end_of_the_server_ends_its_processes() -> None:
    async with running() as server, aiohttp.ClientSession() as http:
        connecting = asyncio.create_task(http.ws_connect(f"{server.url}/v1/realtime"))
        await until(workers)
    assert not workers()
    await asyncio.gather(connecting, return_exceptions=True)


async def test_more_sessions_than_the_way_holds_wait_their_turn() -> None:
    """The kernel holds some 93: of 102 clients that connected at once, 48 more waited without end."""
    async with running(MAX_REALTIME_SESSIONS="400") as server:
        async with connected(server) as client:
            await client.until("session.created")
            (worker,) = workers()
            worker.suspend()
            waiting = [asyncio.create_task(_created(server)) for _ in range(200)]
            leaving = [asyncio.create_task(_created(server)) for _ in range(20)]
            await until(lambda: server.state.live_sessions.n_open == 221)
            await cancel(*leaving)
            worker.resume()
            assert await asyncio.gather(*waiting) == [True] * 200
        await until(lambda: server.state.live_sessions.n_open == 0 and not len(server.http.in_flight))
        assert server.state.budget.used_bytes == SESSION_PROCESS_BYTES


async def test_death_of_a_process_reaches_those_that_wait_for_it(caplog: pytest.LogCaptureFixture) -> None:
    async with running(MAX_REALTIME_SESSIONS="400") as server, connected(server) as client:
        await client.until("session.created")
        (worker,) = workers()
        worker.suspend()
        waiting = [asyncio.create_task(_created(server)) for _ in range(150)]
        await until(lambda: server.state.live_sessions.n_open == 151)
        worker.kill()
        refused = await asyncio.gather(*waiting, return_exceptions=True)
        assert {getattr(each, "status", each) for each in refused} == {503}
    gc.collect()
    assert "never retrieved" not in caplog.text


async def _created(server: Any) -> bool:
    async with connected(server) as client:
        await client.until("session.created")
        return True


def test_sockets_are_sent_one_by_one() -> None:
    """The kernel keeps a message and its descriptor together."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, socket.socket() as given:
        for number in range(3):
            socket.send_fds(ours, [str(number).encode()], [given.fileno()])
        for number in range(3):
            data, descriptors, _, _ = socket.recv_fds(theirs, 100, 1)
            assert (data, len(descriptors)) == (str(number).encode(), 1)
            os.close(descriptors[0])

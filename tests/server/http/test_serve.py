"""The life of the server from its first listener to its end, with real signals."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from http_kit.doubles import Doubles, PipelineDouble
from http_kit.running import FORM_TYPE, LIMIT_S, form_body, post_head, read_answer, until
from whisper_server.errors import StartError
from whisper_server.memory.budget import MemoryBudget
from whisper_server.metrics import Metrics
from whisper_server.serve import ServerExit, serve
from whisper_server.service import Backend
from whisper_server.settings import Settings


@dataclass
class Life:
    """A server in this process, from the outside."""

    doubles: Doubles = field(default_factory=Doubles)
    may_load: asyncio.Event = field(default_factory=asyncio.Event)
    load_error: Exception | None = None
    n_stopped: int = 0
    port: int = 0
    ended: asyncio.Task[ServerExit] | None = None

    @asynccontextmanager
    async def load(self, settings: Settings, metrics: Metrics, budget: MemoryBudget) -> AsyncIterator[Backend]:
        await self.may_load.wait()
        if self.load_error is not None:
            raise self.load_error
        try:
            yield self.doubles.backend()
        finally:
            self.n_stopped += 1

    async def outcome(self, timeout_s: float = LIMIT_S) -> ServerExit:
        assert self.ended is not None
        async with asyncio.timeout(timeout_s):
            return await self.ended

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def living(life: Life, *, loaded: bool = True, **variables: str) -> AsyncIterator[aiohttp.ClientSession]:
    listening = asyncio.Event()

    def note_port(port: int) -> None:
        life.port = port
        listening.set()

    settings = Settings.from_env(
        {"MODEL_ID": "demo", "PORT": "0", "INTERFACE": "127.0.0.1", "DRAIN_SECONDS": "0.5"} | variables
    )
    life.ended = asyncio.create_task(serve(settings, life.load, on_listening=note_port))
    waiting = asyncio.create_task(listening.wait())
    await asyncio.wait({life.ended, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not life.port:
        await life.ended
    async with aiohttp.ClientSession(life.url) as session:
        if loaded:
            life.may_load.set()
            await status_of_ready(session, 200)
        try:
            yield session
        finally:
            for _ in range(3):
                # Once it has ended its handlers are gone, and a signal would end the tests.
                if not life.ended.done():
                    terminate()
                    await asyncio.sleep(0.1)
            await asyncio.gather(life.ended, return_exceptions=True)


def terminate(number: signal.Signals = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


async def status_of_ready(session: aiohttp.ClientSession, status: int) -> None:
    async with asyncio.timeout(LIMIT_S):
        while (await session.get("/ready")).status != status:
            await asyncio.sleep(0.01)


async def listeners_closed(port: int) -> None:
    with pytest.raises(OSError, match=r"refused|Connect"):
        async with asyncio.timeout(LIMIT_S):
            while True:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await asyncio.sleep(0.01)


async def transcribe(session: aiohttp.ClientSession) -> aiohttp.ClientResponse:
    return await session.post("/v1/audio/transcriptions", data=form_body(), headers={"Content-Type": FORM_TYPE})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
async def test_draining_server_serves_all_and_keeps_none_alive(number: signal.Signals) -> None:
    life = Life()
    async with living(life, DRAIN_SECONDS="60") as session:
        terminate(number)
        await status_of_ready(session, 503)
        ready = await session.get("/ready")
        old = await transcribe(session)
        async with aiohttp.ClientSession(life.url) as newcomer:
            new = await transcribe(newcomer)
        terminate(number)  # the drain has been long enough
        outcome = await life.outcome()

    assert ready.status == 503
    assert [answer.status for answer in (old, new)] == [200, 200]
    assert [answer.headers["Connection"] for answer in (ready, old, new)] == ["close"] * 3
    assert outcome == ServerExit(exit_code=0)
    assert life.n_stopped == 1


async def test_requests_in_flight_finish_after_listeners_close() -> None:
    life = Life(Doubles(pipeline=PipelineDouble(hold=asyncio.Event())))
    hold = life.doubles.pipeline.hold
    assert hold is not None
    async with living(life, DRAIN_SECONDS="0.1") as session:
        running = asyncio.create_task(transcribe(session))
        await until(lambda: life.doubles.pipeline.n_open)
        terminate()
        await listeners_closed(life.port)
        assert life.n_stopped == 0, "the engine goes last"
        hold.set()
        answer = await running
        body = await answer.json()
        assert (await life.outcome()).exit_code == 0

    assert (answer.status, body["text"]) == (200, " Hello Kubernetes.")


async def test_upload_that_began_during_drain_is_finished() -> None:
    life = Life()
    body = form_body(audio=bytes(50_000))
    async with living(life, DRAIN_SECONDS="0.1"):
        reader, writer = await asyncio.open_connection("127.0.0.1", life.port)
        writer.write(post_head(Content_Length=len(body)) + body[:1000])
        await asyncio.sleep(0.1)
        terminate()
        for start in range(1000, len(body), 10_000):
            await asyncio.sleep(0.1)
            writer.write(body[start : start + 10_000])
        status, headers, _ = await read_answer(reader)
        writer.close()
        await life.outcome()

    assert (status, headers["connection"]) == (200, "close")


async def test_idle_connections_do_not_delay_the_end() -> None:
    life = Life()
    async with living(life, DRAIN_SECONDS="0.1"):
        silent = await asyncio.open_connection("127.0.0.1", life.port)
        kept = await asyncio.open_connection("127.0.0.1", life.port)
        kept[1].write(b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n")
        await read_answer(kept[0])
        terminate()
        assert (await life.outcome()).exit_code == 0
        assert [await reader.read() for reader, _ in (silent, kept)] == [b"", b""]
        for _, writer in (silent, kept):
            writer.close()


async def test_request_that_does_not_end_in_time_is_cut() -> None:
    life = Life(Doubles(pipeline=PipelineDouble(hold=asyncio.Event())))
    async with living(life, DRAIN_SECONDS="0", SHUTDOWN_SECONDS="0.3") as session:
        stuck = asyncio.create_task(transcribe(session))
        await until(lambda: life.doubles.pipeline.n_open)
        terminate()
        assert (await life.outcome()).exit_code == 0
        with pytest.raises(aiohttp.ClientError):
            await stuck

    assert (life.doubles.pipeline.n_open, life.n_stopped) == (0, 1)


async def test_second_signal_ends_drain_and_third_cuts_requests() -> None:
    life = Life(Doubles(pipeline=PipelineDouble(hold=asyncio.Event())))
    async with living(life, DRAIN_SECONDS="60") as session:
        stuck = asyncio.create_task(transcribe(session))
        await until(lambda: life.doubles.pipeline.n_open)
        terminate()
        await status_of_ready(session, 503)
        terminate()
        await listeners_closed(life.port)
        assert not stuck.done()
        terminate()
        assert (await life.outcome()).exit_code == 0
        with pytest.raises(aiohttp.ClientError):
            await stuck


async def test_signal_ends_the_server_while_the_model_loads() -> None:
    life = Life()
    async with living(life, loaded=False, DRAIN_SECONDS="60") as session:
        health, ready, refused = await session.get("/health"), await session.get("/ready"), await transcribe(session)
        terminate()
        outcome = await life.outcome()

    assert [answer.status for answer in (health, ready, refused)] == [200, 503, 503]
    assert outcome == ServerExit(exit_code=0, loading_abandoned=True)


async def test_model_that_fails_to_load_ends_the_server() -> None:
    life = Life(load_error=StartError("MODEL_ID=nonsense: there is no such model."))
    life.may_load.set()
    with pytest.raises(StartError, match="MODEL_ID=nonsense"):
        async with living(life, loaded=False):
            await life.outcome()


async def test_a_port_in_use_is_named() -> None:
    first = Life()
    async with living(first):
        with pytest.raises(StartError, match=f"PORT={first.port} on INTERFACE=127.0.0.1"):
            async with living(Life(), loaded=False, PORT=str(first.port)):
                pass
        # The second one's end has taken the signal handlers along: this one ends by its own.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            assert first.ended is not None
            first.ended.cancel()
            await asyncio.gather(first.ended, return_exceptions=True)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    assert first.n_stopped == 1


async def test_invalid_interface_is_named() -> None:
    with pytest.raises(StartError, match=r"^PORT=0 on INTERFACE=127\.0\.0\.\.1 cannot be listened on"):
        async with living(Life(), loaded=False, INTERFACE="127.0.0..1"):
            pass


async def test_metrics_on_a_port_of_their_own() -> None:
    life = Life()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with living(life, METRICS_PORT=str(port)) as session:
        here = await session.get("/metrics")
        there = await session.get(f"http://127.0.0.1:{port}/metrics")
        nothing_else = await session.get(f"http://127.0.0.1:{port}/v1/models")
        text = await there.text()
        document = await (await session.get("/openapi.json")).json()

    assert [answer.status for answer in (here, there, nothing_else)] == [404, 200, 404]
    assert "whisper_engine_up 1.0" in text
    assert "/metrics" not in document["paths"]


def n_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_ended_server_leaves_no_tasks_threads_or_files() -> None:
    tasks, threads, files = len(asyncio.all_tasks()), threading.active_count(), n_files()
    life = Life()
    async with living(life, API_KEYS_DIR="/nonexistent", DRAIN_SECONDS="0") as session:
        await session.get("/health")
        terminate()
        await life.outcome()
    await asyncio.sleep(0.05)

    assert len(asyncio.all_tasks()) == tasks
    assert n_files() == files
    # asyncio's own pool for blocking calls stays, as long as the loop.
    assert threading.active_count() <= threads + 1

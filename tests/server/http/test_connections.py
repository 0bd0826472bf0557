"""Many connections and requests at a time: silent ones make room for others, and descriptors never run out."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import select
import socket
import sys
from collections import Counter
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from http_kit.doubles import Doubles, PipelineDouble
from http_kit.running import LIMIT_S, form_body, post_head, read_answer, running, until
from whisper_server.http.connection import Connection, ConnectionTimes
from whisper_server.http.listener import plan_descriptors

HEALTH = b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n"


async def test_longest_idle_connections_are_closed_for_new_ones() -> None:
    hold = asyncio.Event()
    doubles = Doubles(pipeline=PipelineDouble(hold=hold))
    body = form_body()
    async with running(doubles, max_connections=10) as server, AsyncExitStack() as stack:

        async def connected() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            stack.callback(writer.close)
            return reader, writer

        busy_reader, busy = await connected()
        busy.write(post_head(Content_Length=len(body)) + body)
        await until(lambda: doubles.pipeline.n_open)
        kept_reader, kept = await connected()
        silent = [await connected() for _ in range(8)]
        await until(lambda: len(server.http.connections) == 10)
        kept.write(HEALTH)  # older than all the silent ones, but heard of later
        assert (await read_answer(kept_reader))[0] == 200

        for _ in range(8):
            reader, writer = await connected()
            writer.write(HEALTH)
            assert (await read_answer(reader))[0] == 200
        assert [await reader.read() for reader, _ in silent] == [b""] * 8
        await until(lambda: len(server.http.connections) == 10)

        kept.write(HEALTH)
        assert (await read_answer(kept_reader))[0] == 200
        hold.set()
        assert (await read_answer(busy_reader))[0] == 200


async def test_a_connection_with_an_unread_request_is_not_idle() -> None:
    async with running(times=ConnectionTimes(min_idle_s=0)) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            await until(lambda: server.http.connections)
            (connection,) = server.http.connections
            assert isinstance(connection, Connection)
            assert connection.may_be_closed
            client.sendall(HEALTH)  # no await: the server has not read it
            assert not connection.may_be_closed


async def test_a_request_is_answered_one_iteration_after_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.setblocking(False)  # noqa: FBT003 - a socket's
            await until(lambda: server.http.connections)
            (connection,) = server.http.connections
            n_iterations, read_in = 0, []
            receive = connection.data_received

            def data_received(data: bytes) -> None:
                read_in.append(n_iterations)
                receive(data)

            monkeypatch.setattr(connection, "data_received", data_received)
            for _ in range(2):
                client.sendall(HEALTH)
                answer = b""
                while not answer:
                    await asyncio.sleep(0)
                    n_iterations += 1
                    with suppress(BlockingIOError):
                        answer = client.recv(4096)
                assert answer.startswith(b"HTTP/1.1 200")
                # This loop runs before the handler in that iteration, and sees the answer in the next one.
                assert n_iterations - read_in.pop() == 2


async def test_busy_connections_are_kept_and_later_ones_wait() -> None:
    hold = asyncio.Event()
    doubles = Doubles(pipeline=PipelineDouble(hold=hold))
    body = form_body()
    async with running(doubles, max_connections=3) as server, AsyncExitStack() as stack:
        readers = []
        for _ in range(6):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            stack.callback(writer.close)
            writer.write(post_head(Content_Length=len(body), Connection="close") + body)
            readers.append(reader)
        await until(lambda: doubles.pipeline.n_open == 3)
        assert len(server.http.connections) == 3
        hold.set()
        assert [(await read_answer(reader))[0] for reader in readers] == [200] * 6


async def test_request_beyond_the_slots_is_refused_before_its_body() -> None:
    hold = asyncio.Event()
    doubles = Doubles(pipeline=PipelineDouble(hold=hold))
    body = form_body()
    async with running(doubles, max_requests=2) as server, AsyncExitStack() as stack:

        async def posted(data: bytes, **headers: str) -> asyncio.StreamReader:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            stack.callback(writer.close)
            writer.write(post_head(Content_Length=len(body), **headers) + data)
            return reader

        admitted = [await posted(body), await posted(body)]
        await until(lambda: doubles.pipeline.n_open == 2)
        status, headers, answer = await read_answer(await posted(b"", Expect="100-continue"))
        error = json.loads(answer)["error"]

        assert (status, headers["retry-after"]) == (429, "5")
        assert (error["type"], error["code"]) == ("rate_limit_error", "overloaded")
        assert error["message"].startswith("The server works on 2 requests, as many as its open files")
        hold.set()
        assert [(await read_answer(reader))[0] for reader in admitted] == [200, 200]
        assert (await read_answer(await posted(body)))[0] == 200
        assert server.state.slots.n_taken == 0


@pytest.mark.parametrize(("n_descriptors", "n_workers"), [(64, 2), (512, 2), (1_024, 8), (65_536, 8), (65_536, 64)])
def test_descriptors_suffice_for_all_connections_and_requests(n_descriptors: int, n_workers: int) -> None:
    plan = plan_descriptors(n_descriptors, n_workers)

    assert plan.n_requests >= 1
    reserved = min(n_descriptors // 2, 128 + 6 * n_workers)
    assert plan.n_connections + 2 * plan.n_requests + reserved <= n_descriptors


async def _read_to_end(connection: socket.socket) -> bytes:
    """Reads by a plain socket: asyncio's streams drop a received answer where a later write fails."""
    received = b""
    with suppress(ConnectionResetError):
        async with asyncio.timeout(2 * LIMIT_S):
            while some := await asyncio.get_running_loop().sock_recv(connection, 65_536):
                received += some
    return received


async def test_600_uploads_on_512_descriptors_get_no_500(tmp_path: Path) -> None:
    """Every answer is 200, or 429 with a time to come back; /health answers meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2_048)), hard))
    environment = {"MODEL_ID": "demo", "PORT": "0", "INTERFACE": "127.0.0.1", "PYTHONPATH": os.pathsep.join(sys.path)}
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        limited = [
            "bash",
            "-c",
            'ulimit -n 512 && exec "$@"',
            "bash",
            sys.executable,
            "-m",
            "http_kit.serve_doubles",
            "0",
        ]
        process = await asyncio.create_subprocess_exec(*limited, env=environment, stderr=stderr)
    body = form_body()
    *most, last = post_head(Content_Length=len(body), Connection="close") + body
    enough = asyncio.get_running_loop().create_future()

    async def answer(data: bytes) -> tuple[int, bool]:
        """Its status, and whether it has a Retry-After. The last byte is sent late."""
        loop = asyncio.get_running_loop()
        with socket.socket() as connection:
            # Sent in one step: a connection that is idle for a second may be closed for the next one.
            connection.connect(("127.0.0.1", port))
            connection.sendall(data)
            connection.setblocking(False)  # noqa: FBT003 - its only argument
            answered = asyncio.create_task(_read_to_end(connection))
            await asyncio.wait({answered, enough}, return_when=asyncio.FIRST_COMPLETED)
            # What is sent to a server that has answered and closed resets the connection, and the answer that waits here is lost.
            if not select.select([connection], [], [], 0)[0]:
                with suppress(OSError):
                    await loop.sock_sendall(connection, bytes([last]))
            head = (await answered).partition(b"\r\n\r\n")[0].lower()
        return int(head.split()[1]), b"\r\nretry-after:" in head

    try:
        await until(lambda: "Ready" in log.read_text(), 2 * LIMIT_S)
        port = int(log.read_text().split("127.0.0.1:")[1].split('"')[0])
        tasks = [asyncio.create_task(answer(bytes(most))) for _ in range(600)]
        await until(lambda: sum(task.done() for task in tasks) >= 300, 2 * LIMIT_S)
        assert await answer(HEALTH[:-2] + b"Connection: close\r\n\r\n") == (200, False)
        enough.set_result(None)
        answers = Counter(await asyncio.gather(*tasks))
    finally:
        process.kill()
        await process.wait()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert set(answers) == {(200, False), (429, True)}
    assert answers[200, False] >= 80

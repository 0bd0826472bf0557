"""Clients that ask and do not read: each holds a little memory only, and the answer is whole for one that reads late."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import socket
from collections.abc import Iterator

import aiohttp
import psutil
import pytest

from http_kit.doubles import Doubles, PipelineDouble
from http_kit.running import form_body, post_head, read_answer, running, until
from whisper_server.http.openapi.docs_page import docs_asset
from whisper_server.memory.malloc import trim

N_CLIENTS = int(os.environ.get("SOAK_UNREAD_ANSWERS", "400"))
MAX_BYTES_PER_CLIENT = 70_000
BUNDLE = "swagger-ui-bundle.js"


@pytest.fixture(autouse=True)
def many_open_files() -> Iterator[None]:
    """Each client takes two descriptors here: its own and the server's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2 * N_CLIENTS + 500)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(port: int) -> socket.socket:
    """A client whose kernel takes a few kilobytes only."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    return sock


async def test_unread_answers_hold_little_memory() -> None:
    process = psutil.Process()
    async with running(max_connections=N_CLIENTS + 10) as server:
        async with aiohttp.ClientSession(server.url) as session:
            await (await session.get(f"/docs/{BUNDLE}")).read()
        gc.collect()
        before = process.memory_info().rss
        clients = [await asyncio.to_thread(connect, server.port) for _ in range(N_CLIENTS)]
        for client in clients:
            client.sendall(f"GET /docs/{BUNDLE} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await until(lambda: len(server.http.in_flight) == N_CLIENTS)
        await asyncio.sleep(0.5)
        grown = process.memory_info().rss - before
        for client in clients:
            client.close()
        await until(lambda: not server.http.in_flight)
        gc.collect()
        trim()
        left = process.memory_info().rss - before

    # Server and clients are in this process.
    assert grown < N_CLIENTS * MAX_BYTES_PER_CLIENT
    assert left < N_CLIENTS * 20_000


async def test_late_reader_gets_the_whole_answer() -> None:
    async with running() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        writer.write(f"GET /docs/{BUNDLE} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await asyncio.sleep(0.3)
        status, headers, body = await read_answer(reader)
        writer.write(f"HEAD /docs/{BUNDLE} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head = await reader.read()
        writer.close()

    assert (status, headers["content-type"]) == (200, "text/javascript")
    assert body == docs_asset(BUNDLE)
    assert f"Content-Length: {len(body)}".encode() in head
    assert head.endswith(b"\r\n\r\n")


async def test_unread_transcript_counts_in_the_budget() -> None:
    doubles = Doubles(pipeline=PipelineDouble(words=(" word" * 1000,) * 2000))
    body = form_body()
    async with running(doubles) as server:
        client = await asyncio.to_thread(connect, server.port)
        client.sendall(post_head(Content_Length=len(body)) + body)
        await until(lambda: server.state.budget.used_bytes > 5 * 1000 * 2000)
        client.close()
        await until(lambda: not server.http.in_flight)
        gc.collect()
        await until(lambda: server.state.budget.used_bytes == 0)

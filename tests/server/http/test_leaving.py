"""A client that leaves takes its work with it, wherever it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from http_kit.doubles import Doubles, PipelineDouble
from http_kit.running import LIMIT_S, Running, form_body, post_head, running, until


async def leave(server: Running, request: bytes, *, when: Callable[[], object], abort: bool) -> None:
    """Send, wait, hang up: politely, or with a reset."""
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    await until(when)
    if abort:
        writer.transport.abort()
    else:
        writer.close()


@pytest.mark.parametrize("abort", [False, True])
@pytest.mark.parametrize("stream", ["true", "false"])
async def test_abandoned_transcription_frees_everything(stream: str, abort: bool) -> None:
    doubles = Doubles(pipeline=PipelineDouble(hold=asyncio.Event()))
    body = form_body({"stream": stream})
    async with running(doubles) as server:
        request = post_head(Content_Length=len(body)) + body
        await leave(server, request, when=lambda: doubles.pipeline.n_open, abort=abort)
        await until(lambda: not doubles.pipeline.n_open)
        await until(lambda: not server.http.in_flight)

        assert doubles.pipeline.n_left_early == 1
        assert server.state.budget.used_bytes == 0
        metrics = server.state.metrics.exposition("")[0].decode()

    assert 'status="499"' in metrics
    assert "whisper_requests_running 0.0" in metrics


async def test_client_that_leaves_in_mid_stream_frees_everything() -> None:
    doubles = Doubles(pipeline=PipelineDouble(words=(" word",) * 1000, pause_s=0.02))
    body = form_body({"stream": "true"})
    async with running(doubles) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(post_head(Content_Length=len(body)) + body)
        await reader.readuntil(b"data: ")
        writer.close()
        await until(lambda: not doubles.pipeline.n_open)

    assert doubles.pipeline.n_left_early == 1


async def test_abandoned_upload_frees_everything() -> None:
    body = form_body(audio=bytes(100_000))
    async with running() as server:
        request = post_head(Content_Length=len(body)) + body[:90_000]
        await leave(server, request, when=lambda: server.state.budget.used_bytes, abort=False)
        await until(lambda: not server.state.budget.used_bytes)
        await until(lambda: not server.http.in_flight)

    assert server.doubles.decoder.n_calls == 0


async def test_many_clients_that_leave_at_once_free_everything() -> None:
    doubles = Doubles(pipeline=PipelineDouble(hold=asyncio.Event()))
    body = form_body()
    request = post_head(Content_Length=len(body)) + body
    async with running(doubles) as server:
        n_tasks = len(asyncio.all_tasks())
        # Those that are gone before they were read, and those that are not.
        await asyncio.gather(*(leave(server, request, when=lambda: True, abort=True) for _ in range(50)))
        await asyncio.sleep(0.2)
        await until(lambda: not server.http.in_flight)
        await until(lambda: not server.http.connections)
        await until(lambda: len(asyncio.all_tasks()) == n_tasks)

        assert server.state.budget.used_bytes == 0
        assert doubles.pipeline.n_open == 0


@pytest.mark.parametrize("stream", ["false", "true"])
async def test_half_closed_client_gets_its_answer(stream: str) -> None:
    doubles = Doubles(pipeline=PipelineDouble(hold=asyncio.Event()))
    body = form_body({"stream": stream})
    async with running(doubles) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(post_head(Content_Length=len(body)) + body)
        writer.write_eof()
        await until(lambda: doubles.pipeline.n_open)
        await asyncio.sleep(0.8)
        assert doubles.pipeline.n_open
        assert doubles.pipeline.hold is not None
        doubles.pipeline.hold.set()
        async with asyncio.timeout(LIMIT_S):
            answer = await reader.read()
        writer.close()

    interim, _, final = answer.partition(b"\r\n\r\n")
    assert interim == b"HTTP/1.1 100 Continue"
    assert final.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Kubernetes." in final
    assert doubles.pipeline.n_left_early == 0


async def test_pipelined_requests_before_a_half_close_are_answered() -> None:
    async with running() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        writer.write_eof()
        async with asyncio.timeout(LIMIT_S):
            answer = await reader.read()
        writer.close()
    assert answer.count(b"HTTP/1.1 200 OK") == 3


@pytest.mark.parametrize("sent", [b"", b"GET /hea", post_head(Content_Length=1000) + b"--b0undary\r\n"])
async def test_half_close_without_a_whole_request_ends_it(sent: bytes) -> None:
    async with running() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(sent)
        writer.write_eof()
        async with asyncio.timeout(LIMIT_S):
            await reader.read()
        await until(lambda: not server.http.connections)
        writer.close()

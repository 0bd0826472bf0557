"""Many connections at a time: those that say nothing make room for those that do."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from http_kit.doubles import Doubles, PipelineDouble
from http_kit.running import form_body, post_head, read_answer, running, until

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


async def test_connections_in_flight_are_never_closed_for_others() -> None:
    hold = asyncio.Event()
    doubles = Doubles(pipeline=PipelineDouble(hold=hold))
    body = form_body()
    async with running(doubles, max_connections=3) as server, AsyncExitStack() as stack:
        readers = []
        for _ in range(6):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            stack.callback(writer.close)
            writer.write(post_head(Content_Length=len(body)) + body)
            readers.append(reader)
        await until(lambda: doubles.pipeline.n_open == 6)
        hold.set()
        assert [(await read_answer(reader))[0] for reader in readers] == [200] * 6

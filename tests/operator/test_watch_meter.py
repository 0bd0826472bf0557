import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from whisper_operator.reconcile.watch_meter import WatchMeter

PODS, SERVICES = "/api/v1/pods", "/api/v1/services"


class Bench:
    """A server whose watches send data on command."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.meter = WatchMeter(lambda: self.now_s)
        self.status = 200
        self._speak: dict[str, asyncio.Queue[bytes]] = {}

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=self.status)
        await response.prepare(request)
        queue = self._speak[request.path] = asyncio.Queue()
        while words := await queue.get():
            await response.write(words)
        return response

    async def says(self, path: str, words: bytes = b'{"type":"BOOKMARK"}\n') -> None:
        self._speak[path].put_nowait(words)
        await asyncio.sleep(0.05)

    @asynccontextmanager
    async def watching(self, *paths: str) -> AsyncIterator[list[aiohttp.ClientResponse]]:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._serve)
        async with (
            TestServer(app) as server,
            aiohttp.ClientSession(response_class=self.meter.response_class()) as session,
        ):
            responses = [await session.get(server.make_url(path), params={"watch": "true"}) for path in paths]
            await asyncio.sleep(0.05)
            yield responses
            for response in responses:
                response.close()
            for queue in self._speak.values():
                queue.put_nowait(b"")


async def test_quietest_watch_decides_the_age() -> None:
    bench = Bench()
    bench.meter.expect([PODS, SERVICES])
    async with bench.watching(PODS, SERVICES):
        bench.now_s += 60
        assert bench.meter.age_s() == 60
        await bench.says(PODS)
        assert bench.meter.age_s() == 60
        await bench.says(SERVICES)
        assert bench.meter.age_s() == 0
        bench.now_s += 30
        await bench.says(PODS)
        assert bench.meter.age_s() == 30


async def test_unread_bytes_count_as_received() -> None:
    bench = Bench()
    bench.meter.expect([PODS])
    async with bench.watching(PODS) as (response,):
        bench.now_s += 60
        await bench.says(PODS)
        bench.now_s += 5
        assert bench.meter.age_s() == 0
        assert await response.content.readline() == b'{"type":"BOOKMARK"}\n'


async def test_unopened_watch_ages() -> None:
    bench = Bench()
    bench.meter.expect([PODS, SERVICES])
    async with bench.watching(PODS):
        bench.now_s += 60
        await bench.says(PODS)
        assert bench.meter.age_s() == 60


async def test_refused_watch_does_not_reset_the_age() -> None:
    bench = Bench()
    bench.meter.expect([PODS])
    bench.status = 403
    bench.now_s += 60
    async with bench.watching(PODS):
        assert bench.meter.age_s() == 60


async def test_reopened_watch_has_age_zero() -> None:
    bench = Bench()
    bench.meter.expect([PODS])
    bench.now_s += 60
    async with bench.watching(PODS):
        assert bench.meter.age_s() == 0


def test_age_is_zero_without_watches() -> None:
    assert WatchMeter().age_s() == 0

"""Too much at a time: refused early, with a time to come back, and nothing kept."""

from __future__ import annotations

import asyncio
import json

import pytest

from http_kit.doubles import Doubles, PipelineDouble
from http_kit.running import form_body, post_head, read_answer, running, until
from whisper_server.errors import Overloaded
from whisper_server.http.admission import check_wait
from whisper_server.memory.budget import MemoryBudget


def test_a_reservation_takes_and_gives_back() -> None:
    budget = MemoryBudget(100)
    with budget.reservation() as first:
        second = budget.reservation()
        assert first.grow(60)
        assert not second.grow(35), "the last sixteenth is for others"
        assert second.grow(34)
        assert budget.used_bytes == 94
        second.release()
        second.release()
        assert budget.used_bytes == 60
        assert not second.grow(1), "released for good: a straggler must not leak"

    assert budget.used_bytes == 0


@pytest.mark.parametrize(("wait_s", "retry_after"), [(300.5, "1"), (330, "30"), (9000, "60")])
def test_retry_after_is_at_most_a_minute(wait_s: float, retry_after: str) -> None:
    with pytest.raises(Overloaded) as caught:
        check_wait(wait_s, 300)

    assert caught.value.headers() == {"Retry-After": retry_after}
    check_wait(300, 300)


async def test_long_queue_is_refused_before_the_body() -> None:
    doubles = Doubles(pipeline=PipelineDouble(wait_s=340))
    async with running(doubles) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(post_head(Expect="100-continue", Content_Length=500))
        status, headers, body = await read_answer(reader)
        writer.close()

    assert (status, headers["retry-after"]) == (429, "40")
    assert json.loads(body)["error"]["type"] == "rate_limit_error"


async def test_queue_that_fills_during_the_upload_is_refused_too() -> None:
    doubles = Doubles()
    body = form_body()
    async with running(doubles) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(post_head(Content_Length=len(body)))
        # Once it is under way it is let in: nothing is waited for in between.
        await until(lambda: server.http.in_flight)
        doubles.pipeline.wait_s = 340
        writer.write(body)
        status, headers, _ = await read_answer(reader)
        writer.close()

    assert (status, headers["retry-after"]) == (429, "40")
    assert doubles.pipeline.options == []
    assert server.state.budget.used_bytes == 0


async def test_memory_is_bounded_over_all_requests() -> None:
    doubles = Doubles(pipeline=PipelineDouble(hold=asyncio.Event()))
    # A decoded double is 160,000 bytes: six of them fit, with their uploads long gone.
    body = form_body(audio=bytes(40_000))
    request = post_head(Content_Length=len(body), Connection="close") + body
    async with running(doubles, MAX_UPLOAD_BYTES="100000", MEMORY_BUDGET_BYTES=str(1024 * 1024)) as server:

        async def one() -> int:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(request)
            status, _, _ = await read_answer(reader)
            writer.close()
            return status

        running_requests = [asyncio.create_task(one()) for _ in range(12)]
        await until(lambda: sum(task.done() for task in running_requests) + doubles.pipeline.n_open == 12)
        assert server.state.budget.used_bytes <= 1024 * 1024
        assert doubles.pipeline.hold is not None
        doubles.pipeline.hold.set()
        statuses = await asyncio.gather(*running_requests)

        assert set(statuses) == {200, 429}
        assert statuses.count(200) >= 5
        assert server.state.budget.used_bytes == 0

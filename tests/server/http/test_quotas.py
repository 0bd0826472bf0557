"""Each client's limits: whose they are is said, others are not touched, and what was used comes back."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from typing import Any

import pytest

from http_kit.doubles import DURATION_S, Doubles, PipelineDouble
from http_kit.running import Running, form_body, post_head, read_answer, running, until
from whisper_server.errors import RateLimited, TooManyRequests
from whisper_server.http.admission import RequestSlots
from whisper_server.http.quotas import QuotaLimits, Quotas
from whisper_server.memory.budget import MemoryBudget

PROXY = "127.0.0.1"
Answer = tuple[int, dict[str, str], Any]


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def send(server: Running, address: str = "203.0.113.1", audio: bytes = b"sound") -> Answer:
    body = form_body(audio=audio)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(post_head(Content_Length=len(body), X_Forwarded_For=address) + body)
    status, headers, answer = await read_answer(reader)
    writer.close()
    return status, headers, json.loads(answer)


async def test_requests_at_a_time_are_limited_for_each_client() -> None:
    hold = asyncio.Event()
    doubles = Doubles(pipeline=PipelineDouble(hold=hold))
    async with running(doubles, MAX_REQUESTS_PER_CLIENT="2", TRUSTED_PROXIES=PROXY) as server:
        first = [asyncio.create_task(send(server)) for _ in range(2)]
        await until(lambda: doubles.pipeline.n_open == 2)
        status, headers, body = await send(server)
        other = asyncio.create_task(send(server, "203.0.113.2"))
        await until(lambda: doubles.pipeline.n_open == 3)
        hold.set()
        answers = [*await asyncio.gather(*first), await other]
        again = await send(server)
        rejected = server.state.metrics.rejected.labels("client_requests")._value.get()

    assert (status, body["error"]["type"], body["error"]["code"]) == (429, "rate_limit_error", "rate_limit_exceeded")
    assert "MAX_REQUESTS_PER_CLIENT" in body["error"]["message"]
    assert headers["retry-after"] == "1"
    assert headers["x-ratelimit-limit-requests"] == "2"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert [answer[0] for answer in answers] == [200, 200, 200]
    assert again[0] == 200
    assert again[1]["x-ratelimit-remaining-requests"] == "2"
    assert rejected == 1


async def test_audio_per_minute_is_refused_before_the_body_once_it_is_used_up() -> None:
    async with running(MAX_AUDIO_SECONDS_PER_MINUTE=str(2 * DURATION_S - 1), TRUSTED_PROXIES=PROXY) as server:
        first, second = await send(server), await send(server)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(post_head(Content_Length=500, X_Forwarded_For="203.0.113.1", Expect="100-continue"))
        third = await read_answer(reader)
        writer.close()
        other = await send(server, "203.0.113.2")

    assert (first[0], second[0], third[0], other[0]) == (200, 200, 429, 200)
    assert first[1]["x-ratelimit-limit-audio-seconds"] == "4"
    assert int(first[1]["x-ratelimit-remaining-audio-seconds"]) in (1, 2)
    assert "MAX_AUDIO_SECONDS_PER_MINUTE" in json.loads(third[2])["error"]["message"]
    assert 1 <= int(third[1]["retry-after"]) <= 40


async def test_bytes_of_one_client_do_not_keep_others_out() -> None:
    doubles = Doubles(pipeline=PipelineDouble(hold=asyncio.Event()))
    hold = doubles.pipeline.hold
    assert hold is not None
    async with running(
        doubles, MAX_BYTES_PER_CLIENT="300000", MAX_UPLOAD_BYTES="100000", TRUSTED_PROXIES=PROXY
    ) as server:
        first = asyncio.create_task(send(server))  # decoded, 160,000 bytes
        await until(lambda: doubles.pipeline.n_open == 1)
        status, _, body = await send(server)
        other = asyncio.create_task(send(server, "203.0.113.2"))
        await until(lambda: doubles.pipeline.n_open == 2)
        hold.set()
        assert [answer[0] for answer in await asyncio.gather(first, other)] == [200, 200]
        assert server.state.budget.used_bytes == 0
    assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")
    assert "MAX_BYTES_PER_CLIENT" in body["error"]["message"]


async def test_answers_have_no_ratelimit_headers_without_quotas() -> None:
    async with running() as server:
        _, headers, _ = await send(server)
    assert not [name for name in headers if name.startswith("x-ratelimit")]


async def test_request_that_takes_too_long_refuses_itself() -> None:
    doubles = Doubles(pipeline=PipelineDouble(own_work_s=3074))
    async with running(doubles) as server:
        status, headers, body = await send(server)
    assert (status, body["error"]["code"], body["error"]["param"]) == (413, "too_much_work", "file")
    assert "MAX_QUEUE_SECONDS" in body["error"]["message"]
    assert "retry-after" not in headers, "another try would not help"
    assert doubles.pipeline.options == []


async def test_ready_and_admission_see_the_decoders_queue() -> None:
    doubles = Doubles(pipeline=PipelineDouble(wait_s=2, queued_s=10))
    doubles.decoder.wait_s, doubles.decoder.queued_s = 299, 32_000
    async with running(doubles) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /ready HTTP/1.1\r\nHost: here\r\n\r\n")
        status, _, body = await read_answer(reader)
        writer.close()
        refused = await send(server)
        assert server.service.queued_audio_s() == 32_010, "what the autoscaler sees"
    assert (status, json.loads(body)["decode_wait_seconds"], json.loads(body)["queue_wait_seconds"]) == (200, 299, 301)
    assert refused[0] == 429


def test_long_recording_is_paid_back_over_minutes() -> None:
    clock = Clock()
    quotas = Quotas(QuotaLimits(max_audio_s_per_minute=600), clock)
    quotas.spend_audio("me", 3600)
    with pytest.raises(RateLimited) as caught:
        quotas.spend_audio("me", 1)
    assert caught.value.retry_after_s == 60, "OpenAI's clients ignore more"
    assert quotas.headers("me")["x-ratelimit-reset-audio-seconds"] == "360s"
    clock.now_s += 301
    quotas.spend_audio("me", 1)
    clock.now_s += 3600
    quotas.spend_audio("other", 1)
    assert list(quotas._buckets) == ["other"], "a full bucket is forgotten"


def test_newcomer_finds_a_slot_though_another_took_what_it_could() -> None:
    slots = RequestSlots(32)
    with ExitStack() as held:
        for _ in range(30):
            held.enter_context(slots.taken("hog"))
        with pytest.raises(TooManyRequests):
            held.enter_context(slots.taken("hog"))
        for owner in ("clip", "other"):
            held.enter_context(slots.taken(owner))
        with pytest.raises(TooManyRequests):
            held.enter_context(slots.taken("third"))
    assert (slots.n_taken, slots._n_by_owner) == (0, {})


def test_newcomer_finds_memory_though_another_took_what_it_could() -> None:
    budget = MemoryBudget(1600)
    hog = [budget.reservation("hog") for _ in range(200)]
    assert sum(each.grow(10) for each in hog) == 150
    clip = budget.reservation("clip")
    assert clip.grow(100)
    assert not clip.grow(1)
    for each in (*hog, clip):
        each.release()
    assert (budget.used_bytes, budget.held_bytes("hog")) == (0, 0)
    alone = budget.reservation("hog")
    assert alone.grow(1600), "one request alone may take everything"

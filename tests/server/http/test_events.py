"""Streamed answers: OpenAI's events, read by OpenAI's client and as bytes."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import openai
import pytest

from http_kit.doubles import Doubles, PipelineDouble
from http_kit.running import LIMIT_S, Running, form_body, post_head, read_answer, running, talk, until
from whisper_server.errors import InternalError


async def raw_events(server: Running, **fields: str) -> bytes:
    body = form_body({"stream": "true", **fields})
    return await talk(server.port, post_head(Content_Length=len(body), Connection="close") + body)


def data_of(answer: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in answer.splitlines() if line.startswith(b"data: ")]


@pytest.mark.parametrize("response_format", ["json", "text"])
async def test_openai_client_reads_deltas_and_the_whole(response_format: Any) -> None:
    async with running() as server, openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="-") as client:
        stream = await client.audio.transcriptions.create(
            model="whisper-1", file=("a.wav", b"RIFF"), stream=True, response_format=response_format
        )
        events = [event async for event in stream]

    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    done = events[-1]
    assert done.type == "transcript.text.done"
    assert deltas == [" Hello", " Kubernetes."]
    assert "".join(deltas) == done.text
    assert done.usage is not None
    assert (done.usage.type, done.usage.total_tokens) == ("tokens", 132)
    assert done.to_dict()["languages"] == [{"code": "en"}]
    assert done.logprobs is None


async def test_logprobs_are_sent_if_requested() -> None:
    async with running() as server, openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="-") as client:
        stream = await client.audio.transcriptions.create(
            model="gpt-4o-transcribe", file=("a.wav", b"RIFF"), stream=True, include=["logprobs"]
        )
        events = [event.to_dict() async for event in stream]

    hello = {"token": " Hello", "bytes": list(b" Hello"), "logprob": -0.25}
    kubernetes = {"token": " Kubernetes.", "bytes": list(b" Kubernetes."), "logprob": -0.25}
    assert [event["logprobs"] for event in events] == [[hello], [kubernetes], [hello, kubernetes]]


async def test_a_window_is_sent_as_soon_as_it_is_accepted() -> None:
    doubles = Doubles(pipeline=PipelineDouble(words=(" one", " two"), hold=asyncio.Event(), held_at=1))
    async with running(doubles) as server, openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="-") as client:
        stream = await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"RIFF"), stream=True)
        first = await anext(aiter(stream))

        assert first.type == "transcript.text.delta"
        assert doubles.pipeline.n_open == 1, "the first window came only when all was done"
        await stream.close()


async def test_headers_keep_proxies_from_buffering() -> None:
    async with running() as server:
        head = (await raw_events(server)).split(b"\r\n\r\n")[0].decode().lower()

    assert "content-type: text/event-stream" in head
    assert "x-accel-buffering: no" in head
    assert "cache-control: no-cache, no-transform" in head
    assert "content-encoding" not in head


async def test_stream_sends_comments_while_no_event_is_ready() -> None:
    hold = asyncio.Event()
    doubles = Doubles(pipeline=PipelineDouble(words=(" late",), hold=hold))
    body = form_body({"stream": "true"})
    async with running(doubles, heartbeat_s=0.1) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(post_head(Content_Length=len(body), Connection="close") + body)
        async with asyncio.timeout(LIMIT_S):
            begin_s = time.monotonic()
            early = [await reader.readuntil(b": still working\n\n") for _ in range(3)]
            took_s = time.monotonic() - begin_s
            hold.set()
            answer = await reader.read()
        writer.close()
    assert took_s > 0.25, "one every 0.1 s"
    assert b"data: " not in b"".join(early)
    assert [event["type"] for event in data_of(answer)] == ["transcript.text.delta", "transcript.text.done"]


async def test_error_before_the_first_event_is_an_http_error() -> None:
    doubles = Doubles(pipeline=PipelineDouble(error=InternalError("The window was lost.")))
    async with (
        running(doubles) as server,
        openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="-", max_retries=0) as client,
    ):
        with pytest.raises(openai.InternalServerError, match="The window was lost"):
            await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"RIFF"), stream=True)


@pytest.mark.parametrize("error", [InternalError("The window was lost."), ZeroDivisionError("secret")])
async def test_error_in_mid_stream_is_raised_by_the_client(error: Exception) -> None:
    doubles = Doubles(pipeline=PipelineDouble(error=error, fails_at=2))
    deltas = []
    async with running(doubles) as server, openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="-") as client:
        stream = await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"RIFF"), stream=True)
        with pytest.raises(openai.APIError) as caught:
            async for event in stream:
                deltas.append(event)
        rejected = server.state.metrics.rejected.labels("internal_error")._value.get()

    assert len(deltas) == 1
    assert caught.value.code == "internal_error"
    assert "secret" not in str(caught.value)
    assert rejected == 1


async def test_line_ends_of_unicode_do_not_cut_an_event() -> None:
    doubles = Doubles(pipeline=PipelineDouble(words=(" a\u2028b\u0085c\x0bd",)))
    async with running(doubles) as server:
        answer = await raw_events(server)

    assert answer.decode().splitlines() == answer.decode().split("\n")[:-1] or b"\\u2028" in answer
    assert data_of(answer)[0]["delta"] == " a\u2028b\u0085c\x0bd"


async def test_a_reader_that_stalls_does_not_hold_up_the_engine() -> None:
    doubles = Doubles(pipeline=PipelineDouble(words=(" word" * 20_000,) * 200))
    async with running(doubles) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        body = form_body({"stream": "true"})
        writer.write(post_head(Content_Length=len(body)) + body)
        await until(lambda: doubles.pipeline.n_open)
        status, _, _ = await read_answer(reader)
        writer.transport.abort()
        await until(lambda: not doubles.pipeline.n_open)

    assert status == 200

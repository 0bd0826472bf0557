"""What operators see: metrics and log lines."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from http_kit.doubles import Doubles, PipelineDouble
from http_kit.running import FORM_TYPE, form_body, running, talk, until
from whisper_server.metrics import Metrics
from whisper_server.process.event_loop import LagMeter
from whisper_server.process.event_loop import running as in_background
from whisper_server.process.logs import configure_logging


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the server logs, as JSON."""
    root = logging.getLogger()
    before, level = root.handlers, root.level
    stream = io.StringIO()
    configure_logging("json", "info", stream)
    yield stream
    root.handlers, root.level = before, level


def records(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


async def transcribe(session: aiohttp.ClientSession, **headers: str) -> aiohttp.ClientResponse:
    headers |= {"Content-Type": FORM_TYPE}
    return await session.post("/v1/audio/transcriptions", data=form_body(), headers=headers)


async def scrape(session: aiohttp.ClientSession) -> dict[str, float]:
    """Samples by name and labels, in the labels' alphabetical order."""
    text = await (await session.get("/metrics")).text()
    return {
        sample.name + "".join(f"|{sample.labels[name]}" for name in sorted(sample.labels)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_metrics_count_what_was_done() -> None:
    doubles = Doubles(pipeline=PipelineDouble(queued_s=61, wait_s=3))
    async with running(doubles) as server, aiohttp.ClientSession(server.url) as session:
        server.state.metrics.watch_worker_deaths(lambda: 4, lambda: 1)
        await transcribe(session)
        await session.get("/v1/made-up")
        await session.get("/v1/models/made-up")
        metrics = await scrape(session)

    route = "/v1/audio/transcriptions"
    assert metrics[f"whisper_requests_total|json|POST|{route}|200"] == 1
    assert metrics["whisper_requests_total||GET|unmatched|404"] == 1
    assert metrics["whisper_requests_total||GET|/v1/models/{id}|404"] == 1
    assert metrics["whisper_rejected_total|model_not_found"] == 1
    assert metrics[f"whisper_request_seconds_count|{route}"] == 1
    assert metrics["whisper_audio_seconds_total"] == 2.5
    assert metrics["whisper_requests_running"] == 0
    assert metrics["whisper_requests_in_flight"] == 1, "the scrape itself"
    assert (metrics["whisper_queue_audio_seconds"], metrics["whisper_queue_wait_seconds"]) == (61, 3)
    assert metrics["whisper_decode_worker_deaths_total"] == 4
    assert metrics["whisper_decode_worker_sandbox_kills_total"] == 1
    assert metrics["whisper_memory_reserved_bytes"] == 0
    assert metrics["whisper_engine_up"] == 1


async def test_metrics_show_running_requests_and_their_memory() -> None:
    hold = asyncio.Event()
    doubles = Doubles(pipeline=PipelineDouble(hold=hold))
    async with running(doubles) as server, aiohttp.ClientSession(server.url) as session:
        requests = [asyncio.create_task(transcribe(session)) for _ in range(3)]
        await until(lambda: doubles.pipeline.n_open == 3)
        metrics = await scrape(session)
        hold.set()
        await asyncio.gather(*requests)

    assert metrics["whisper_requests_running"] == 3
    assert metrics["whisper_memory_reserved_bytes"] == 3 * 160_000


def test_two_servers_in_one_process_do_not_share_metrics() -> None:
    one, other = Metrics(), Metrics()
    one.rejected.labels("x").inc()

    assert b'reason="x"' not in other.exposition("")[0]


async def test_openmetrics_is_sent_if_accepted() -> None:
    async with running() as server, aiohttp.ClientSession(server.url) as session:
        answer = await session.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})

    assert answer.content_type == "application/openmetrics-text"


@pytest.mark.parametrize(
    "accept", ['text/plain;version="0.0.4"', "application/openmetrics-text; version=latest", "text/plain;version=1.0.x"]
)
async def test_unknown_accept_version_gets_the_text_format(accept: str) -> None:
    async with running() as server, aiohttp.ClientSession(server.url) as session:
        answer = await session.get("/metrics", headers={"Accept": accept})
        text = await answer.text()

    assert (answer.status, answer.content_type) == (200, "text/plain")
    assert "whisper_requests_running 0.0" in text


async def test_every_request_but_probes_is_logged_once(
    lines: io.StringIO, tmp_path_factory: pytest.TempPathFactory
) -> None:
    keys = tmp_path_factory.mktemp("keys")
    (keys / "ada").write_text("s3cret-key")
    async with running(API_KEYS_DIR=str(keys)) as server, aiohttp.ClientSession(server.url) as session:
        await transcribe(session, **{"Authorization": "Bearer s3cret-key", "x-request-id": "r-1"})
        await transcribe(session, Authorization="Bearer wr0ng-key")
        for path in ("/health", "/ready", "/metrics"):
            await session.get(path)

    good, bad = (record for record in records(lines) if record["logger"] == "whisper_server.http.access_log")
    assert good["message"] == "POST /v1/audio/transcriptions 200"
    assert (good["request_id"], good["client"], good["model"], good["format"]) == ("r-1", "ada", "whisper-1", "json")
    assert good["audio_s"] == 2.5
    assert 0 <= good["transcribe_s"] <= good["duration_s"]
    assert (bad["error"], "client" in bad) == ("invalid_api_key", False)
    assert "s3cret" not in lines.getvalue()
    assert "wr0ng" not in lines.getvalue()


async def test_log_lines_of_a_request_carry_its_id(lines: io.StringIO) -> None:
    doubles = Doubles()
    doubles.decoder.error = ZeroDivisionError("a bug")
    async with running(doubles) as server, aiohttp.ClientSession(server.url) as session:
        await transcribe(session, **{"x-request-id": "r-2"})

    [crash] = [record for record in records(lines) if record["level"] == "error"]
    assert crash["request_id"] == "r-2"
    assert "ZeroDivisionError: a bug" in crash["exception"]


@pytest.mark.parametrize("log_format", ["json", "text"])
async def test_no_line_can_be_forged(log_format: str, lines: io.StringIO) -> None:
    logging.getLogger().handlers.clear()
    configure_logging(log_format, "info", lines)
    async with running() as server, aiohttp.ClientSession(server.url) as session:
        await session.get("/a%0aERROR%20forged%1b[31m%e2%80%a8x")
        await talk(server.port, b"GET /\x1b[31mred HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")

    text = lines.getvalue()
    assert len(text.splitlines()) == 2
    assert "\x1b" not in text
    assert "forged" in text


def test_text_lines_keep_tracebacks_apart(lines: io.StringIO) -> None:
    configure_logging("text", "info", lines)
    try:
        int("a\x07b\nc")
    except ValueError:
        logging.getLogger("x").exception("it failed", extra={"fields": {"file": "a\nb"}})

    first, *rest = lines.getvalue().splitlines()
    assert "ERROR   x it failed file=a\\nb" in first
    assert all(line.startswith("    ") for line in rest)
    assert "\x07" not in lines.getvalue()


async def test_probe_is_logged_only_if_the_engine_is_dead(
    lines: io.StringIO,
) -> None:
    doubles = Doubles()
    async with running(doubles, loaded=False) as server, aiohttp.ClientSession(server.url) as session:
        await session.get("/ready")
        server.service.load(doubles.backend())
        doubles.engine.problem = "out of memory"
        await session.get("/health")
        metrics = await scrape(session)

    assert [record["message"] for record in records(lines)] == ["GET /health 503"]
    assert not [name for name in metrics if name.startswith("whisper_rejected")]


async def test_stream_that_is_read_to_its_end_counts_as_answered() -> None:
    async with running() as server, aiohttp.ClientSession(server.url) as session:
        for _ in range(20):
            answer = await session.post(
                "/v1/audio/transcriptions",
                data=form_body({"stream": "true"}),
                headers={"Content-Type": FORM_TYPE, "Connection": "close"},
            )
            assert b"transcript.text.done" in await answer.read()
            answer.close()
        metrics = await scrape(session)

    assert metrics["whisper_requests_total|json|POST|/v1/audio/transcriptions|200"] == 20


async def test_event_loop_lag_is_measured() -> None:
    lag = LagMeter(period_s=0.01, window_s=60)
    async with in_background(lag.run()):
        await asyncio.sleep(0.05)
        time.sleep(0.2)  # noqa: ASYNC251 - blocks the loop, as costly work would
        await asyncio.sleep(0.05)
    assert lag.max_s() >= 0.15

"""What arrives on a socket that no HTTP client would send, and what the server says to it."""

from __future__ import annotations

import asyncio
import json
import re
import socket

import openai
import pytest

from http_kit.doubles import Doubles, PipelineDouble
from http_kit.running import LIMIT_S, form_body, post_head, read_answer, running, talk, until
from whisper_server.http.connection import ConnectionTimes

HEALTH = b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n"
CHUNKED = post_head(Transfer_Encoding="chunked")


def answers_in(data: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """All answers of a connection, each with a Content-Length."""
    found = []
    while data:
        head, data = data.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines[1:])}
        n_bytes = int(headers.get("content-length", 0))
        found.append((int(lines[0].split()[1]), headers, data[:n_bytes]))
        data = data[n_bytes:]
    return found


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), id="TLS"),
        pytest.param(b"hello\r\n\r\n", id="no HTTP"),
        pytest.param(bytes(range(256)), id="bytes"),
        pytest.param(b"GET / HTTP/3.7\r\n\r\n", id="version"),
        pytest.param(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: here\r\n\r\n", id="long line"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", id="long header"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 500 + b"\r\n", id="many headers"),
        pytest.param(b"GET / HTTP/1.1\r\nX\x01Y: a\r\n\r\n", id="header name"),
        pytest.param(b"GET / HTTP/1.1\r\nX: a\x00b\r\n\r\n", id="header value"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", id="negative length"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", id="two lengths"),
        pytest.param(
            b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="smuggling"
        ),
        pytest.param(b"BREW / HTTP/1.1\r\nHost: here\r\n\r\n", id="method"),
    ],
)
async def test_garbage_gets_one_400_in_the_one_shape_and_the_end(
    garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as server:
        [(status, headers, body)] = answers_in(await talk(server.port, garbage))
        assert (await talk(server.port, HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")))[9:12] == b"200"

    error = json.loads(body)["error"]
    assert status == 400
    assert (error["type"], error["code"]) == ("invalid_request_error", "bad_http")
    assert headers["connection"] == "close"
    assert headers["x-request-id"].startswith("req_")
    assert headers["content-type"].startswith("application/json")
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"zz\r\nhello\r\n0\r\n\r\n", id="no number"),
        pytest.param(b"5\r\nhelloXX0\r\n\r\n", id="chunk too long"),
    ],
)
@pytest.mark.parametrize("pause_s", [0, 0.05])
async def test_bad_chunks_get_one_400_and_no_traceback(
    body: bytes, pause_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as server:
        [(status, headers, answer)] = answers_in(await talk(server.port, CHUNKED, body, pause_s=pause_s))
        assert server.state.budget.used_bytes == 0

    assert (status, headers["connection"]) == (400, "close")
    assert json.loads(answer)["error"]["type"] == "invalid_request_error"
    assert "Traceback" not in caplog.text


async def test_http_1_0_is_answered_and_closed() -> None:
    body = form_body()
    request = post_head(Content_Length=len(body)).replace(b"HTTP/1.1", b"HTTP/1.0") + body
    async with running() as server:
        [(status, headers, answer)] = answers_in(await talk(server.port, request))

    assert status == 200
    assert "transfer-encoding" not in headers
    assert json.loads(answer)["text"] == " Hello Kubernetes."


async def test_http_1_0_client_gets_events_until_close() -> None:
    body = form_body({"stream": "true"})
    request = post_head(Content_Length=len(body)).replace(b"HTTP/1.1", b"HTTP/1.0") + body
    async with running() as server:
        answer = await talk(server.port, request)

    assert b"Transfer-Encoding" not in answer
    assert answer.endswith(b"}\n\n")
    assert answer.count(b"data: ") == 3


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
async def test_upgrade_header_is_ignored(protocol: str) -> None:
    """`curl --http2` asks for h2c along with every upload."""
    body = form_body()
    head = post_head(Content_Length=len(body), Connection="Upgrade, HTTP2-Settings", Upgrade=protocol)
    async with running() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(2):
            writer.write(head + body)
            status, _, answer = await read_answer(reader)
            assert (status, json.loads(answer)["text"]) == (200, " Hello Kubernetes.")
        writer.close()


async def test_pipelined_requests_are_answered_in_order() -> None:
    body = form_body()
    requests = (
        HEALTH
        + post_head(Content_Length=len(body))
        + body
        + b"GET /nowhere HTTP/1.1\r\nHost: here\r\n\r\n"
        + b"GET /v1/models HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
    )
    async with running() as server:
        answers = answers_in(await talk(server.port, requests))

    assert [status for status, _, _ in answers] == [200, 200, 404, 200]


async def test_good_request_before_garbage_gets_its_answer() -> None:
    async with running() as server:
        answers = answers_in(await talk(server.port, HEALTH, b"\x00garbage\r\n\r\n", pause_s=0.05))

    assert [status for status, _, _ in answers] == [200, 400]


def expecting(path: str = "/v1/audio/transcriptions", **headers: object) -> bytes:
    return post_head(path, **({"Expect": "100-continue", "Content_Length": 500} | headers))


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        pytest.param(expecting(), 401, "invalid_api_key", id="no key"),
        pytest.param(expecting(Authorization="Bearer no"), 401, "invalid_api_key", id="wrong key"),
        pytest.param(
            expecting(Content_Length=30_000_000, Authorization="Bearer key-of-ada"),
            413,
            "upload_too_large",
            id="too large",
        ),
        pytest.param(expecting(Authorization="Bearer key-of-ada", Content_Type="text/plain"), 400, None, id="no form"),
        pytest.param(expecting("/v1/nowhere"), 404, None, id="no route"),
        pytest.param(expecting("/v1/models"), 405, None, id="no such method"),
        pytest.param(expecting(Expect="a-miracle", Authorization="Bearer key-of-ada"), 417, None, id="other expect"),
    ],
)
async def test_request_is_refused_before_100_continue(
    head: bytes, status: int, code: str | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    keys = tmp_path_factory.mktemp("keys")
    (keys / "ada").write_text("key-of-ada")
    async with running(API_KEYS_DIR=str(keys)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head)
        got, headers, body = await read_answer(reader)
        writer.close()

    assert (got, json.loads(body)["error"]["code"]) == (status, code)
    assert headers["x-request-id"]


async def test_an_accepted_body_is_asked_for_once() -> None:
    body = form_body()
    async with running() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(post_head(Expect="100-continue", Content_Length=len(body)))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        status, _, answer = await read_answer(reader)
        writer.close()

    assert (status, json.loads(answer)["text"]) == (200, " Hello Kubernetes.")


async def test_openai_client_learns_that_its_file_is_too_large() -> None:
    # A busy machine sends 26 MB for longer than the 5 s that the server goes on reading.
    async with (
        running(times=ConnectionTimes(lingering_s=LIMIT_S)) as server,
        openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="-", max_retries=0) as client,
    ):
        with pytest.raises(openai.APIStatusError) as caught:
            await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", bytes(26 * 1024 * 1024)))

    assert (caught.value.status_code, caught.value.code) == (413, "upload_too_large")


async def test_body_without_length_is_refused_once_too_large() -> None:
    async with running(MAX_UPLOAD_BYTES="100000") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        body = form_body(audio=bytes(200_000))
        writer.write(CHUNKED + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")
        status, _, _ = await read_answer(reader)
        writer.close()

    assert status == 413
    assert server.state.budget.used_bytes == 0


async def test_endless_sender_is_answered_and_cut() -> None:
    n_sent = 0
    async with running(MAX_UPLOAD_BYTES="100000", times=ConnectionTimes(lingering_s=1)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(post_head(Content_Length=10**12))
        status, _, _ = await read_answer(reader)
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(LIMIT_S):
                while True:
                    writer.write(bytes(65_536))
                    await writer.drain()
                    n_sent += 1
                    await asyncio.sleep(0.01)
        writer.close()

    assert status == 413
    assert n_sent > 5


async def test_idle_and_dripping_connections_end() -> None:
    async with running(times=ConnectionTimes(head_s=0.5, keepalive_s=0.5)) as server:
        idle = talk(server.port, b"")
        dripping = talk(server.port, b"GET /health HTTP/1.1\r\nHo")
        kept = talk(server.port, HEALTH)
        ends = await asyncio.gather(idle, dripping, kept)
        await until(lambda: server.http.connections == [])

    assert (ends[0], ends[1]) == (b"", b"")
    assert re.match(rb"HTTP/1.1 200 OK", ends[2])


async def test_idle_connection_of_a_proxy_is_not_closed() -> None:
    """The server must not close first: a request that a proxy sends at that moment would be lost."""
    async with running(times=ConnectionTimes(head_s=0.3)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(2):
            writer.write(HEALTH)
            assert (await read_answer(reader))[0] == 200
            await asyncio.sleep(0.7)
        assert len(server.http.connections) == 1
        writer.write(b"GET /hea")  # a head that has begun has to come to its end
        await until(lambda: server.http.connections == [])
        writer.close()

    longest_of_proxies_s = 4000  # what ALB can be set to; Envoy: 3600
    assert ConnectionTimes().keepalive_s > longest_of_proxies_s


async def test_vanished_client_is_probed_by_keepalive() -> None:
    async with running() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HEALTH)
        await read_answer(reader)
        (connection,) = server.http.connections
        assert connection.transport is not None
        kept = connection.transport.get_extra_info("socket")
        asked_after_s = kept.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        is_asked = kept.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        writer.close()

    assert is_asked
    assert asked_after_s == ConnectionTimes().vanished_s


@pytest.mark.parametrize("stream", ["true", "false"])
async def test_client_that_reads_nothing_is_cut(stream: str) -> None:
    doubles = Doubles(pipeline=PipelineDouble(words=(" word" * 20_000,) * 200))
    body = form_body({"stream": stream})
    async with running(doubles, times=ConnectionTimes(stalled_write_s=0.5)) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(post_head(Content_Length=len(body)) + body)
            await until(lambda: doubles.decoder.n_calls and not server.http.connections)

    assert not server.http.in_flight
    assert doubles.pipeline.n_open == 0
    assert server.state.budget.used_bytes == 0


@pytest.mark.parametrize("line", [b"GET /health\r\n\r\n", b"GET /health HTTP/0.9\r\n\r\n"])
async def test_http_0_9_is_refused_in_openais_shape(line: bytes) -> None:
    async with running() as server:
        answer = await talk(server.port, line)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 400 ")
    assert json.loads(body)["error"]["type"] == "invalid_request_error"

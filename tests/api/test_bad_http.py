"""Bodies that break off, crawl or swell, and what is no HTTP: each gets its answer, and nothing of it stays."""

from __future__ import annotations

import time
from contextlib import suppress

import httpx
import numpy as np
import psutil
import pytest

from server_kit.api import Api, in_flight
from server_kit.process import ServerProcess
from server_kit.raw import BOUNDARY, Wire, body_of, clip_form, exchange, head, part
from server_kit.refusals import check_error, check_heard, post
from suite_kit.slow import SLOW

MAX_UPLOAD_BYTES = 2_000_000

pytestmark = [
    pytest.mark.usefixtures("nothing_stays"),
    pytest.mark.on_ctranslate2(because="it is refused before an engine sees it"),
]


def test_a_body_cut_off_in_the_middle(strict: ServerProcess, clip: bytes) -> None:
    body = clip_form(clip)
    with Wire(strict.port) as wire:
        wire.send(head(len(body)) + body[: len(body) // 2])
        wire.end_sending()
        rest = wire.wait_for_close()
    assert not rest or rest.startswith(b"HTTP/1.1 400")


def test_a_client_that_hangs_up_in_the_middle(strict: ServerProcess, clip: bytes) -> None:
    body = clip_form(clip)
    for n_bytes in (0, 10, 100, len(body) // 2, len(body) - 1):
        with Wire(strict.port) as wire:
            wire.send(head(len(body)) + body[:n_bytes])


def test_one_byte_a_second(strict: ServerProcess, clip: bytes) -> None:
    body = clip_form(clip)
    begin_s = time.monotonic()
    with Wire(strict.port) as wire:
        wire.send(head(len(body)))
        for byte in body[:5]:
            wire.send(bytes([byte]))
            time.sleep(0.5)
        answer = wire.answer()
    check_error(answer, 408, code="upload_timeout")
    assert 1.5 <= time.monotonic() - begin_s <= 8 * SLOW


def test_a_body_that_never_comes(strict: ServerProcess) -> None:
    with Wire(strict.port) as wire:
        wire.send(head(1000))
        check_error(wire.answer(), 408, code="upload_timeout")


def test_declared_size_above_the_limit_is_refused_before_the_body(strict: ServerProcess) -> None:
    with Wire(strict.port) as wire:
        wire.send(head(MAX_UPLOAD_BYTES + 1, more=["Expect: 100-continue"]))
        check_error(wire.answer(), 413, code="upload_too_large")


def test_too_large_in_chunks_is_refused_while_it_comes(strict: ServerProcess) -> None:
    request = head(None, more=[f"Content-Type: multipart/form-data; boundary={BOUNDARY}", "Transfer-Encoding: chunked"])
    chunk = b"10000\r\n" + b"\x00" * 0x10000 + b"\r\n"
    form_head = part("file", b"", file_name="a.wav").removesuffix(b"\r\n")
    with Wire(strict.port) as wire:
        wire.send(request + f"{len(form_head):x}\r\n".encode() + form_head + b"\r\n")
        for _ in range(MAX_UPLOAD_BYTES // 0x10000 + 2):
            wire.send(chunk)
        check_error(wire.answer(), 413, code="upload_too_large")


def test_a_wrong_model_is_refused_whatever_the_file_is(strict: ServerProcess) -> None:
    body = body_of(part("model", b"nope"), part("file", b"junk", file_name="a.wav"))
    check_error(post(strict.port, body), 404, param="model", code="model_not_found")


def test_garbage_instead_of_http(strict: ServerProcess) -> None:
    for garbage in (
        b"\x16\x03\x01\x02\x00\x01\x00" * 20 + b"\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x00" * 500 + b"\r\n\r\n",
    ):
        answer = exchange(strict.port, garbage)
        check_error(answer, 400)
        assert answer.headers["connection"] == "close"


def test_nothing_at_all(strict: ServerProcess) -> None:
    wires = [Wire(strict.port) for _ in range(20)]
    for wire in wires:
        wire.close()


def test_endless_headers(strict: ServerProcess) -> None:
    answer = exchange(strict.port, b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 40_000 + b"\r\n\r\n")
    check_error(answer, 400)


def test_http_1_0(strict: ServerProcess, clip: bytes) -> None:
    body = clip_form(clip)
    with Wire(strict.port) as wire:
        wire.send(head(len(body), version="HTTP/1.0") + body)
        check_heard(wire.answer())
        assert wire.wait_for_close() == b""


def test_pipelined_requests_are_answered_in_order(strict: ServerProcess, clip: bytes) -> None:
    body = clip_form(clip)
    request = head(len(body)) + body
    with Wire(strict.port) as wire:
        wire.send(request + head(None, method="GET", path="/health") + request)
        check_heard(wire.answer())
        assert wire.answer().body == b'{"status": "ok"}'
        check_heard(wire.answer())


def test_unknown_routes_and_methods_have_openais_shape(strict: ServerProcess) -> None:
    check_error(exchange(strict.port, head(None, method="GET", path="/v1/nothing")), 404)
    answer = exchange(strict.port, head(None, method="GET"))
    check_error(answer, 405)
    assert "POST" in answer.headers["allow"]


def test_the_servers_memory_holds_after_all_this(strict: ServerProcess, strict_api: Api) -> None:
    """Fifty large refused bodies: their bytes are given back."""
    before = _resident_bytes(strict)
    junk = np.random.default_rng(0).bytes(MAX_UPLOAD_BYTES - 10_000)
    answers = in_flight(lambda _: strict_api.post(junk), range(50))
    statuses = {answer.status_code for answer in answers}
    assert 400 in statuses
    assert statuses <= {400, 408}, "on a busy machine an upload may take longer than this server's 2 s"
    assert _resident_bytes(strict) < before + 150e6


def _resident_bytes(server: ServerProcess) -> int:
    """Of all its processes; one that has ended holds nothing."""
    total = 0
    for process in server.family():
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


def test_a_request_id_is_taken_over_only_where_it_is_harmless(strict: ServerProcess) -> None:
    def id_for(given: str) -> str:
        answer = httpx.get(f"{strict.url}/health", headers={"x-request-id": given})
        return answer.headers["x-request-id"]

    assert id_for("abc-123") == "abc-123"
    assert len(id_for("x" * 5000)) < 300

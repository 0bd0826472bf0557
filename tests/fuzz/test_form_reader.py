"""The form reader on mutated bodies: a form or a 4xx, the same one however the body is cut into pieces, nothing kept."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from audio_kit.decoding import Budget
from fuzz_kit import examples, mutated
from whisper_server.api.options import Policy
from whisper_server.errors import ApiError
from whisper_server.http.forms import FormLimits, read_form
from whisper_server.http.loop_throttle import LoopThrottle
from whisper_server.whisper.transcript import Task

LIMITS = FormLimits(max_upload_bytes=4_000, upload_timeout_s=60.0, max_parts=12)
HEADERS = {"content-type": "multipart/form-data; boundary=xyz"}
Outcome = tuple[object, ...]


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


class Connected(BaseProtocol):
    """The client is there."""

    connected = True


async def outcome_of(pieces: list[bytes]) -> Outcome:
    """What the server makes of a body that arrives in these pieces."""
    loop = asyncio.get_running_loop()
    stream = StreamReader(Connected(loop), 2**16, loop=loop)
    request = make_mocked_request("POST", "/v1/audio/transcriptions", HEADERS, payload=stream)
    budget = Budget(3_000)
    reading = asyncio.ensure_future(
        read_form(request, Task.TRANSCRIBE, LIMITS, Policy(), budget, throttle=LoopThrottle(4))
    )
    for piece in pieces:
        stream.feed_data(piece)
        for _ in range(4):  # until the reader has taken it
            await asyncio.sleep(0)
    stream.feed_eof()
    try:
        with await reading as form:
            content = os.pread(form.file.fileno(), form.file.n_bytes, 0)
            assert budget.held_bytes == len(content)
            return content, form.model, form.options, form.response_format, form.stream, form.granularities
    except ApiError as refusal:
        return refusal.status, refusal.code, refusal.param
    finally:
        budget.release()


def is_refusal(outcome: Outcome) -> bool:
    return outcome[0] in range(400, 500)


def cut(content: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(content) + 1) for place in places), len(content)]
    return [content[start:end] for start, end in itertools.pairwise(bounds)]


@examples(100)
@given(content=mutated("form"), places=st.lists(st.integers(0, 0xFFFF), max_size=4))
def test_mutated_form_is_read_or_refused_however_it_arrives(
    runner: asyncio.Runner, content: bytes, places: list[int]
) -> None:
    whole = runner.run(outcome_of([content]))
    assert isinstance(whole[0], bytes) or is_refusal(whole)
    in_pieces = runner.run(outcome_of(cut(content, places)))
    # Of several faults another one may be met first, so refusals need not name the same field.
    assert in_pieces == whole or (is_refusal(in_pieces) and is_refusal(whole))


def test_fuzzing_the_form_reader_leaves_no_file_open(runner: asyncio.Runner) -> None:
    def n_open() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    body = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n--xyz--\r\n'
    runner.run(outcome_of([body]))
    before = n_open()
    for end in range(len(body)):
        runner.run(outcome_of([body[:end]]))
    assert n_open() == before

"""Mutated files sent to a real server: 200 or 4xx, and the server and its decoders live on."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given

from fuzz_kit import corpus, examples, mutated
from server_kit.process import ServerProcess, running

KINDS = ("wav", "ogg", "other")
pytestmark = pytest.mark.before_release(
    because="a server takes seconds of CPU to start; the pool is fuzzed in every run"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running({"MAX_DECODED_SECONDS": "600"}, tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=600) as made:
        yield made


def post(client: httpx.Client, content: bytes) -> int:
    form = {"model": "whisper-1", "language": "en", "response_format": "text"}
    return client.post("/v1/audio/transcriptions", data=form, files={"file": ("recording", content)}).status_code


def n_ended(client: httpx.Client) -> float:
    """Decoder workers that ended by themselves, since the start."""
    lines = client.get("/metrics").text.splitlines()
    values = [float(line.split()[-1]) for line in lines if line.startswith("whisper_decode_worker_deaths_total")]
    assert values
    return sum(values)


def test_every_file_of_the_corpus_is_answered(client: httpx.Client) -> None:
    assert {post(client, content) for content in corpus(*KINDS)} == {200}


@examples(10)
@given(content=mutated(*KINDS))
def test_mutated_file_over_http_gets_200_or_4xx(client: httpx.Client, server: ServerProcess, content: bytes) -> None:
    assert post(client, content) in {200, *range(400, 500)}
    assert server.popen.poll() is None


def test_fuzzing_over_http_kills_no_decoder(client: httpx.Client) -> None:
    assert n_ended(client) == 0
    assert client.get("/health").status_code == httpx.codes.OK

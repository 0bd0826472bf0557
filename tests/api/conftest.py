"""The server that the API suite talks to, and what it heard.

One process serves most tests. Which engine it has, and which server it is: tests/conftest.py.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from server_kit.api import Api
from server_kit.heard import Heard
from server_kit.process import ServerProcess, StartServer
from speech_kit.recordings import Recording, join
from speech_kit.sentences import spoken
from speech_kit.sounds import wav
from suite_kit.slow import IN_SHORT, SLOW

MAX_UPLOAD_BYTES = 2_000_000
"""Of the strict server."""
BASE_URL = os.environ.get("TEST_BASE_URL", "")


@pytest.fixture(scope="session")
def base_url(request: pytest.FixtureRequest) -> str:
    if BASE_URL:
        return BASE_URL.rstrip("/")
    process: ServerProcess = request.getfixturevalue("server")
    return process.url


@pytest.fixture(scope="session")
def api(base_url: str) -> Iterator[Api]:
    """The shared server over HTTP."""
    client = Api(base_url)
    yield client
    client.close()


@pytest.fixture(scope="session")
def heard(api: Api, on_vllm_in_short: bool) -> Heard:
    # vLLM's CPU build takes a second of a processor for each.
    return Heard(api, main_only=on_vllm_in_short or IN_SHORT)


@pytest.fixture(scope="session")
def clip() -> bytes:
    """A short clip, as a wav file."""
    return wav(spoken("en", 0).samples)


@pytest.fixture(scope="session")
def minute_and_a_half() -> Recording:
    """English sentences with pauses, about 90 s: several windows."""
    return join([spoken("en", index) for index in range(20)], seed=3)


@pytest.fixture(scope="session")
def strict(start_server: StartServer) -> Iterator[ServerProcess]:
    """A server with short limits; what is bad is sent to it."""
    settings = {"UPLOAD_TIMEOUT_SECONDS": "2", "MAX_UPLOAD_BYTES": str(MAX_UPLOAD_BYTES), "MAX_DECODED_SECONDS": "600"}
    with start_server(settings) as process:
        yield process


@pytest.fixture(scope="session")
def strict_api(strict: ServerProcess) -> Iterator[Api]:
    api = Api(strict.url)
    yield api
    api.close()


@pytest.fixture
def nothing_stays(strict: ServerProcess, strict_api: Api) -> Iterator[None]:
    """After each test the server has no file, process, memory or request more than before."""
    before = _state(strict)
    yield
    deadline_s = time.monotonic() + 15 * SLOW
    while (left := _left(strict, strict_api, before)) and time.monotonic() < deadline_s:
        time.sleep(0.2)
    assert not left
    assert "Traceback" not in strict.log()


def _state(strict: ServerProcess) -> tuple[int, int]:
    return strict.process.num_fds(), len(strict.family())


def _left(strict: ServerProcess, api: Api, before: tuple[int, int]) -> list[str]:
    """What there is more of now."""
    api.http.get("/health")
    n_fds, n_processes = _state(strict)
    n_sockets = 2  # one connection of the probing client, and one that is being closed
    left = [f"{n_fds} fds instead of {before[0]}"] if n_fds > before[0] + n_sockets else []
    left += [f"{n_processes} processes instead of {before[1]}"] if n_processes > before[1] else []
    left += [f"file {path}" for path in strict.temporary.rglob("*")]
    metrics = api.http.get("/metrics").text.splitlines()
    for name in ("whisper_requests_running", "whisper_memory_reserved_bytes", "whisper_queue_audio_seconds"):
        value = next(float(line.split()[1]) for line in metrics if line.startswith(f"{name} "))
        left += [f"{name} {value}"] if value else []
    return left

"""The server that the API suite talks to, and what it heard.

One process serves most tests. TEST_ENGINE names its engine (ctranslate2); with TEST_BASE_URL the suite talks to a
server that runs already, and tests that need a process of their own are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from server_kit.api import Api
from server_kit.heard import Heard
from server_kit.process import ServerProcess, running
from speech_kit.recordings import Recording, join
from speech_kit.sentences import spoken
from speech_kit.sounds import wav

BASE_URL = os.environ.get("TEST_BASE_URL", "")
FIGURES = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show what was measured, also where all tests pass."""
    figures = config.stash.get(FIGURES, [])
    if figures:
        terminalreporter.section("figures")
        for line in figures:
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def figure(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Note a measured figure; all of them are printed at the end."""
    return pytestconfig.stash.setdefault(FIGURES, []).append


StartServer = Callable[[Mapping[str, str]], AbstractContextManager[ServerProcess]]


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> StartServer:
    """Start a server with settings of its own, as a context manager."""
    if BASE_URL:
        pytest.skip("TEST_BASE_URL is set: this test starts a server of its own")
    cache: Path = tmp_path_factory.getbasetemp() / "models"

    def start(settings: Mapping[str, str]) -> AbstractContextManager[ServerProcess]:
        return running({"MODEL_CACHE_DIR": str(cache), **settings}, tmp_path_factory.mktemp("server"))

    return start


@pytest.fixture(scope="session")
def server(start_server: StartServer) -> Iterator[ServerProcess]:
    """The shared server's process. It must end with 0 and leave nothing behind."""
    with start_server({}) as process:
        yield process


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
def heard(api: Api) -> Heard:
    return Heard(api)


@pytest.fixture(scope="session")
def fox() -> bytes:
    """A short clip, as a wav file."""
    return wav(spoken("en", 0).samples)


@pytest.fixture(scope="session")
def minute_and_a_half() -> Recording:
    """English sentences with pauses, about 90 s: several windows."""
    return join([spoken("en", index) for index in range(20)], seed=3)

"""A server on Whisper base with real weights. Where weights or recordings cannot be had, tests are skipped by name."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from pinned_packages import PackageUnavailable
from real_kit.weights import base_checkpoint
from server_kit.api import Api
from server_kit.process import StartServer


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """A recording that a test asks for and that cannot be fetched is no failure of the product."""
    try:
        yield
    except PackageUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """Whisper base as a Hugging Face folder."""
    try:
        return base_checkpoint()
    except PackageUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def api(checkpoint: Path, start_server: StartServer) -> Iterator[Api]:
    """The server on Whisper base in int8, as it comes."""
    with start_server({"MODEL_ID": str(checkpoint), "CPU_THREADS": str(len(os.sched_getaffinity(0)))}) as server:
        api = Api(server.url)
        yield api
        api.close()

"""What all tests have: figures that they measure on their way, and a server to start.

Figures are printed at the end, also where every test passes. TEST_ENGINE names the server's engine (ctranslate2),
TEST_PYTHON the interpreter that has it, TEST_ENGINE_MISSING why this machine has none. With TEST_BASE_URL the tests
talk to a server that runs already, and those that need a process of their own are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from server_kit.process import ServerProcess, StartServer, running

ON_VLLM_IN_SHORT = os.environ.get("TEST_ENGINE") == "vllm" and not os.environ.get("TEST_EVERYTHING")
FIGURES = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash.get(FIGURES, [])
    if figures:
        terminalreporter.section("figures")
        for line in figures:
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def figure(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Note a measured figure."""
    return pytestconfig.stash.setdefault(FIGURES, []).append


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of two engines, the second does not run what the first has shown, or what would take it too long."""
    missing = os.environ.get("TEST_ENGINE_MISSING", "")
    for item in items:
        once = item.get_closest_marker("on_ctranslate2")
        if missing:
            item.add_marker(pytest.mark.skip(reason=missing))
        elif once is not None and ON_VLLM_IN_SHORT:
            item.add_marker(pytest.mark.skip(reason=f"runs on ctranslate2 only: {once.kwargs['because']}"))


@pytest.fixture(scope="session")
def on_vllm_in_short() -> bool:
    """Whether what takes vLLM's CPU build minutes is left out."""
    return ON_VLLM_IN_SHORT


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> StartServer:
    """Start a server with settings of its own, as a context manager."""
    if os.environ.get("TEST_BASE_URL"):
        pytest.skip("TEST_BASE_URL is set: this test starts a server of its own")
    cache: Path = tmp_path_factory.getbasetemp() / "models"

    def start(settings: Mapping[str, str]) -> AbstractContextManager[ServerProcess]:
        return running({"MODEL_CACHE_DIR": str(cache), **settings}, tmp_path_factory.mktemp("server"))

    return start

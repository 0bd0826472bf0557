"""What all tests have: figures that they measure on their way, and a server to start.

Figures travel with the tests' reports, from pytest-xdist's workers too, and are printed at the end even where every
test passes. TEST_ENGINE names the server's engine (ctranslate2), TEST_PYTHON the interpreter that has it,
TEST_ENGINE_MISSING why this machine has none, TEST_VLLM_CACHE where vLLM keeps its facts about models. `make test` sets TEST_IN_SHORT; TEST_ALL runs what `make test` leaves to `make test-all`,
TEST_BED_UNCHANGED is the reason to skip the test bed's own tests. With TEST_BASE_URL the tests
talk to a server that runs already, and those that need a process of their own are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from model_kit.demo import model_cache
from server_kit.process import ServerProcess, StartServer, running
from suite_kit.slow import IN_SHORT

ON_VLLM = os.environ.get("TEST_ENGINE") == "vllm"
EVERYTHING = bool(os.environ.get("TEST_EVERYTHING"))
ALL = EVERYTHING or bool(os.environ.get("TEST_ALL"))
FIGURE = "figure"
NOTED = pytest.StashKey[list[str]]()
"""Figures that no report holds yet."""
REPORTED = pytest.StashKey[list[str]]()
N_LEFT_OUT = pytest.StashKey[int]()
# librosa compiles at its first use, 28 CPU s; speech_kit.compiled_librosa has it kept for all checkouts.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path.home() / ".cache" / "whisper-numba"))


class Figures:
    """Collects figures from the reports of tests, in the process that prints the summary."""

    def __init__(self, config: pytest.Config) -> None:
        self._reported = config.stash.setdefault(REPORTED, [])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # The report of the teardown is the last, and has the properties of those before it.
        if report.when == "teardown":
            self._reported += [str(value) for name, value in report.user_properties if name == FIGURE]


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Figures(config))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    noted = item.config.stash.setdefault(NOTED, [])
    item.user_properties += [(FIGURE, line) for line in noted]
    noted.clear()
    return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash.get(REPORTED, [])
    if figures:
        terminalreporter.section("figures")
        for line in figures:
            terminalreporter.line(line)
    n_left_out = config.stash.get(N_LEFT_OUT, 0)
    if n_left_out:
        terminalreporter.line(f"{n_left_out} API tests run on ctranslate2 only: `make test-all` runs them on vLLM too")


@pytest.fixture(scope="session")
def figure(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Note a measured figure."""
    return pytestconfig.stash.setdefault(NOTED, []).append


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of two engines, the second does not run what the first has shown, or what would take it too long."""
    missing = os.environ.get("TEST_ENGINE_MISSING", "")
    bed_unchanged = os.environ.get("TEST_BED_UNCHANGED", "")
    left_out = []
    for item in items:
        once = item.get_closest_marker("on_ctranslate2")
        later = item.get_closest_marker("before_release")
        if missing:
            item.add_marker(pytest.mark.skip(reason=missing))
        elif later is not None and IN_SHORT:
            item.add_marker(pytest.mark.skip(reason=f"make test-all runs it: {later.kwargs['because']}"))
        elif bed_unchanged and item.get_closest_marker("test_bed"):
            item.add_marker(pytest.mark.skip(reason=bed_unchanged))
        elif ON_VLLM and not ALL and _is_of_api(item) and not item.get_closest_marker("on_both_engines"):
            left_out.append(item)
        elif once is not None and ON_VLLM and not EVERYTHING:
            item.add_marker(pytest.mark.skip(reason=f"runs on ctranslate2 only: {once.kwargs['because']}"))
    if left_out:
        config.stash[N_LEFT_OUT] = len(left_out)
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _is_of_api(item: pytest.Item) -> bool:
    return item.path.parent == Path(__file__).parent / "api"


@pytest.fixture(scope="session")
def on_vllm_in_short() -> bool:
    """Whether what takes vLLM's CPU build minutes is left out."""
    return ON_VLLM and not EVERYTHING


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> StartServer:
    """Start a server with settings of its own, as a context manager."""
    if os.environ.get("TEST_BASE_URL"):
        pytest.skip("TEST_BASE_URL is set: this test starts a server of its own")
    cache = model_cache(tmp_path_factory.getbasetemp() / "models")

    def start(settings: Mapping[str, str]) -> AbstractContextManager[ServerProcess]:
        return running({"MODEL_CACHE_DIR": str(cache), **settings}, tmp_path_factory.mktemp("server"))

    return start


@pytest.fixture(scope="session")
def server(start_server: StartServer) -> Iterator[ServerProcess]:
    """The shared server's process. It must end with 0 and leave nothing behind."""
    with start_server({}) as process:
        yield process

"""What the end-to-end tests share: one real node for the whole run, gone afterwards even where pytest was killed.

A machine that cannot have it skips them, and says why.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from cluster_kit.namespaces import fresh_namespace
from cluster_kit.tools import Unavailable
from e2e_kit import ground as grounds
from e2e_kit.containers import Image, check_machine, unpacked
from e2e_kit.ground import Ground, install_operator
from e2e_kit.images import archives
from e2e_kit.long_work import SLOW, LongWork, under_way
from e2e_kit.served import Served, by_gateway
from e2e_kit.traffic import Quiet

PEACEFUL = (
    "test_whole_way",
    "test_access",
    "test_escapes",
    "test_large_and_long",
    "test_what_goes_wrong",
    "test_model_cache",
)
LONG_WORK = "long_work"
WAITED_FOR = {LONG_WORK, "rotated"}
"""Fixtures that take minutes, in which other tests run."""
HERE = Path(__file__).parent
LIMIT_S = 900
"""Of a test that hangs: whichever is first pays for the cluster, whichever asks first waits for the long answers."""
LONG_ANSWER_S = float(os.environ.get("WHISPER_ANSWER_SECONDS", "60")) + 3
LONG_STREAM_S = float(os.environ.get("WHISPER_STREAM_SECONDS", "75")) + 3
REFUSED = pytest.StashKey[str]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """While answers of minutes are under way, tests go first that leave node and operator in peace; then who asks for
    these answers; then all that drains and kills. Tests of other folders, which come here as well, stay where they are.
    """
    places = [place for place, item in enumerate(items) if item.path.is_relative_to(HERE)]
    for place, item in zip(places, sorted((items[place] for place in places), key=_turn), strict=True):
        items[place] = item
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LIMIT_S))


def _turn(item: pytest.Item) -> int:
    if WAITED_FOR.intersection(getattr(item, "fixturenames", ())):
        return len(PEACEFUL)
    name = item.path.stem
    return PEACEFUL.index(name) if name in PEACEFUL else len(PEACEFUL) + 1


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what is missing, outside of any test's time. The first time on a machine this takes many minutes."""
    wanted = any("ground" in getattr(item, "fixturenames", ()) for item in session.items)
    if not wanted or session.config.option.collectonly:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        try:
            grounds.prepare(Path(tempfile.gettempdir()))
        except Unavailable as why:
            session.config.stash[REFUSED] = str(why)


@pytest.fixture(scope="session")
def images() -> Iterator[dict[str, Image]]:
    """Those of server and operator, unpacked."""
    try:
        check_machine()
        built = {path.stem: path for path in archives()}
    except Unavailable as why:
        pytest.skip(f"no images: {why}")
    with unpacked(built["whisper-server-cpu"]) as server, unpacked(built["whisper-operator"]) as operator:
        yield {"server": server, "operator": operator}


@pytest.fixture
def server(images: dict[str, Image]) -> Image:
    """The image of the server."""
    return images["server"]


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Ground]:
    """The node, its Ingress, and the images."""
    refused = pytestconfig.stash.get(REFUSED, "")
    if refused:
        pytest.skip(f"no real node: {refused}")
    try:
        with grounds.up(tmp_path_factory.mktemp("ground") / "cluster") as found:
            yield found
    except Unavailable as why:
        pytest.skip(f"no real node: {why}")


@pytest.fixture(scope="session")
def installed(ground: Ground) -> Ground:
    """The same, with the operator at work: installed by its chart, from its image."""
    install_operator(ground.cluster)
    return ground


@pytest.fixture(scope="session")
def long_work(installed: Ground) -> Iterator[Mapping[str, LongWork]]:
    """An answer and a stream of minutes by each way in, under way since the session began."""
    with fresh_namespace(installed.cluster) as name, ExitStack() as stack:
        endpoints = {
            way: Served(installed.cluster, name, way, origin=installed.origin) for way in ("ingress", "gateway")
        }
        for way, endpoint in endpoints.items():
            endpoint.apply({**SLOW, **by_gateway(endpoint)} if way == "gateway" else SLOW)
        for endpoint in endpoints.values():
            endpoint.wait_until_current()
        yield {
            way: stack.enter_context(under_way(endpoint, answer_s=LONG_ANSWER_S, stream_s=LONG_STREAM_S))
            for way, endpoint in endpoints.items()
        }


@pytest.fixture(scope="session")
def operator(installed: Ground, request: pytest.FixtureRequest) -> Ground:
    """The operator at work, and the long answers under way wherever a test comes that asks for them: they are begun
    before the first test. Where they cannot be, the tests that ask for them say so, and no others.
    """
    if any(LONG_WORK in getattr(item, "fixturenames", ()) for item in request.session.items):
        with suppress(Exception):
            request.getfixturevalue(LONG_WORK)
    return installed


@pytest.fixture
def namespace(operator: Ground) -> Iterator[str]:
    """A fresh namespace that lets in only what PodSecurity calls restricted; emptied and deleted afterwards."""
    with fresh_namespace(operator.cluster) as name:
        yield name


@pytest.fixture
def served(operator: Ground, namespace: str) -> Served:
    """An endpoint that is not there yet."""
    return Served(operator.cluster, namespace, origin=operator.origin)


@pytest.fixture(scope="session")
def quiet() -> Quiet:
    """What the demo model makes of the clips that traffic sends, once an endpoint was asked."""
    return Quiet()

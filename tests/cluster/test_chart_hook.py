"""What `helm test` runs in its pod, run as a process: real API server, operator and model; pods are played."""

import base64
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from chart_kit.charts import OPERATOR, only, render
from chart_kit.operators import operator_of
from chart_kit.releases import Release, released
from cluster_kit import workloads
from cluster_kit.cluster import Cluster
from operator_kit.endpoints import make_endpoint
from server_kit.process import ServerProcess, running

SCRIPT = OPERATOR / "files/test/transcribe_clip.py"


@dataclass(frozen=True)
class Hook:
    """The test's files and account, as the pod has them."""

    release: Release
    folder: Path
    account: str
    name: str
    """Of the endpoint."""

    def start(self, *arguments: str, timeout_s: float = 60) -> subprocess.Popen[str]:
        cluster, namespace = self.release.cluster, self.release.namespace
        token = cluster.kubectl("create", "token", self.account, f"--namespace={namespace}").strip()
        (self.folder / "token").write_text(token)
        shown = cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-ojson")
        authority = json.loads(shown)["clusters"][0]["cluster"]["certificate-authority-data"]
        (self.folder / "ca.crt").write_bytes(base64.b64decode(authority))
        command = [sys.executable, "-I", str(self.folder / "transcribe_clip.py"), f"--server={cluster.server}"]
        files = [f"--token-file={self.folder / 'token'}", f"--ca-file={self.folder / 'ca.crt'}"]
        return subprocess.Popen(
            [*command, *files, f"--timeout={timeout_s}", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, timeout_s: float = 60) -> tuple[int, str]:
        """Exit code and output."""
        process = self.start(*arguments, timeout_s=timeout_s)
        told, _ = process.communicate(timeout=180)
        return process.returncode, told

    def endpoints(self) -> list[str]:
        return [one["metadata"]["name"] for one in self.release.cluster.find("wep", self.release.namespace)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running(
        {"MODEL_CACHE_DIR": str(tmp_path_factory.mktemp("models"))}, tmp_path_factory.mktemp("server")
    ) as started:
        yield started


@pytest.fixture
def hook(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Hook]:
    """The release is there; the operator is not, unless a test starts it."""
    with released(cluster, namespace) as release:
        documents = render(OPERATOR, namespace=namespace)
        hooks = [one for one in documents if "helm.sh/hook" in one["metadata"].get("annotations", {})]
        cluster.apply(*[one for one in hooks if one["kind"] != "Pod"])
        files = only(hooks, "ConfigMap")
        for name, text in files["data"].items():
            (tmp_path / name).write_text(text)
        for name, packed in files["binaryData"].items():
            (tmp_path / name).write_bytes(base64.b64decode(packed))
        assert (tmp_path / "transcribe_clip.py").read_text() == SCRIPT.read_text()
        name = json.loads(files["data"]["endpoint.json"])["metadata"]["name"]
        yield Hook(release, tmp_path, only(hooks, "ServiceAccount")["metadata"]["name"], name)


def test_an_endpoint_is_made_used_and_deleted(hook: Hook, server: ServerProcess) -> None:
    with operator_of(hook.release, hook.folder / "operator").running():
        code, told = hook.run(f"--url={server.url}/v1")
    assert code == 0, told
    assert "heard: The quick brown fox jumps over the lazy dog." in told
    assert "Ready=True Ready" in told
    assert hook.endpoints() == []


def test_it_says_what_the_endpoint_lacks(hook: Hook) -> None:
    """Its own address is no one's here: pods are played."""
    with operator_of(hook.release, hook.folder / "operator").running():
        code, told = hook.run(timeout_s=15)
    assert code == 1, told
    assert f"POST http://{hook.name}.{hook.release.namespace}.svc.cluster.local/v1/audio/transcriptions" in told
    assert hook.endpoints() == []


@pytest.mark.before_release(because="tests/e2e runs helm test on a real node, and here it succeeds and fails")
def test_without_an_operator_it_says_so_and_leaves_nothing(hook: Hook) -> None:
    code, told = hook.run(timeout_s=3)
    assert code == 1
    assert "no status: does the operator run?" in told
    assert "FAILED: the endpoint is not ready" in told
    assert hook.endpoints() == []


@pytest.mark.before_release(because="tests/e2e runs helm test on a real node, and here it succeeds and fails")
def test_stopped_from_outside_it_leaves_nothing(hook: Hook) -> None:
    process = hook.start()
    hook.release.cluster.wait(lambda: hook.endpoints() == [hook.name], 30, "the endpoint is made")
    process.send_signal(signal.SIGTERM)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 1, told
    assert hook.endpoints() == []


def test_leftovers_of_an_earlier_test_do_no_harm(hook: Hook) -> None:
    hook.release.cluster.apply(make_endpoint(name=hook.name, namespace=hook.release.namespace))
    code, told = hook.run(timeout_s=3)
    assert code == 1
    assert "making the WhisperEndpoint" in told
    assert hook.endpoints() == []


@pytest.mark.before_release(because="tests/e2e runs helm test on a real node, and here it succeeds and fails")
def test_the_endpoint_goes_with_its_pod(hook: Hook) -> None:
    """Killed, it cannot delete anything: the garbage collector does."""
    cluster, namespace = hook.release.cluster, hook.release.namespace
    cluster.apply(workloads.pod("stands-for-the-test", namespace))
    pod = cluster.get("pod", "stands-for-the-test", namespace)
    process = hook.start(f"--owner={pod['metadata']['name']}/{pod['metadata']['uid']}")
    cluster.wait(lambda: hook.endpoints() == [hook.name], 30, "the endpoint is made")
    process.kill()
    process.communicate(timeout=30)
    assert hook.endpoints() == [hook.name]
    cluster.delete("pod", pod["metadata"]["name"], namespace=namespace)
    cluster.wait(lambda: hook.endpoints() == [], 150, "the endpoint has gone with its pod")

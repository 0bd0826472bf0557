import asyncio
import json
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from operator_kit.api_server import Answer, ApiServerDouble, Asked
from whisper_operator.cluster.api import METADATA_ONLY, KubernetesCluster
from whisper_operator.cluster.connection import Connection, proxy_of
from whisper_operator.cluster_protocol import ApiError
from whisper_operator.errors import StartError
from whisper_operator.kinds import POD
from whisper_operator.metrics import Metrics

SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "team-a", "name": "speech", "uid": "u1"}}


@asynccontextmanager
async def cluster_of(
    answer: Callable[[Asked], Answer], folder: Path, user: dict[str, Any] | None = None, limit_s: float = 10
) -> AsyncIterator[tuple[KubernetesCluster, ApiServerDouble]]:
    async with ApiServerDouble(answer).listening() as server:
        connection = Connection(str(server.kubeconfig(folder / "kubeconfig", user)), "", 4)
        await connection.load()
        try:
            yield KubernetesCluster(connection, Metrics(), "pod-1", request_limit_s=limit_s), server
        finally:
            await connection.close()


def failure(code: int, reason: str, message: str, **details: Any) -> Answer:
    body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
    return Answer(code, {**body, "details": details})


async def refused(answer: Answer, folder: Path, limit_s: float = 10) -> ApiError:
    async with cluster_of(lambda asked: answer, folder, limit_s=limit_s) as (cluster, _):
        with pytest.raises(ApiError) as raised:
            await cluster.apply(SERVICE)
        return raised.value


async def test_apply_is_forced_and_strict(tmp_path: Path) -> None:
    async with cluster_of(lambda asked: Answer(body={**SERVICE, "spec": {}}), tmp_path) as (cluster, server):
        assert await cluster.apply(SERVICE) == {**SERVICE, "spec": {}}
    (asked,) = server.asked
    assert (asked.method, asked.path, asked.body) == ("PATCH", "/api/v1/namespaces/team-a/services/speech", SERVICE)
    assert asked.query == {"fieldManager": "whisper-operator", "force": "true", "fieldValidation": "Strict"}
    assert asked.headers["Content-Type"] == "application/apply-patch+yaml"
    assert asked.headers["User-Agent"].startswith("whisper-operator")


async def test_status_has_its_own_field_manager(tmp_path: Path) -> None:
    endpoint = {**SERVICE, "apiVersion": "whisper-operator.io/v1alpha1", "kind": "WhisperEndpoint"}
    async with cluster_of(lambda asked: Answer(), tmp_path) as (cluster, server):
        await cluster.apply_status(endpoint)
    (asked,) = server.asked
    assert asked.path == "/apis/whisper-operator.io/v1alpha1/namespaces/team-a/whisperendpoints/speech/status"
    assert asked.query["fieldManager"] == "whisper-operator-status"


async def test_delete_has_the_uid_as_precondition(tmp_path: Path) -> None:
    async with cluster_of(lambda asked: Answer(), tmp_path) as (cluster, server):
        await cluster.delete(SERVICE)
    assert server.asked[0].body == {"propagationPolicy": "Background", "preconditions": {"uid": "u1"}}


@pytest.mark.parametrize("code", [404, 409])
async def test_delete_of_a_missing_object_succeeds(code: int, tmp_path: Path) -> None:
    async with cluster_of(lambda asked: failure(code, "x", "y"), tmp_path) as (cluster, _):
        await cluster.delete(SERVICE)


async def test_get_of_a_missing_object_is_none(tmp_path: Path) -> None:
    async with cluster_of(lambda asked: failure(404, "NotFound", "no"), tmp_path) as (cluster, _):
        assert await cluster.get("v1", "Secret", "team-a", "keys") is None


async def test_api_error_has_the_servers_message(tmp_path: Path) -> None:
    error = await refused(failure(403, "Forbidden", "exceeded quota"), tmp_path)
    assert (error.code, error.reason, error.message, error.retry_after_s) == (403, "Forbidden", "exceeded quota", None)


async def test_retry_after_comes_from_header_or_body(tmp_path: Path) -> None:
    in_header = Answer(429, {"kind": "Status", "reason": "TooManyRequests"}, {"Retry-After": "3"})
    assert (await refused(in_header, tmp_path)).retry_after_s == 3
    in_body = failure(429, "TooManyRequests", "slow down", retryAfterSeconds=4)
    assert (await refused(in_body, tmp_path)).retry_after_s == 4
    on_a_date = Answer(503, {}, {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"})
    assert (await refused(on_a_date, tmp_path)).retry_after_s is None


async def test_error_of_a_proxy_is_reported(tmp_path: Path) -> None:
    error = await refused(Answer(502, "<html>Bad gateway</html>"), tmp_path)
    assert (error.code, error.reason) == (502, "HTTP502")
    assert "<html>Bad gateway</html>" in error.message


async def test_html_page_counts_as_no_answer(tmp_path: Path) -> None:
    error = await refused(Answer(200, "<html>Log in</html>"), tmp_path)
    assert error.code == 0
    assert "Log in" in error.message


async def test_silent_server_counts_as_no_answer(tmp_path: Path) -> None:
    error = await refused(Answer(silent=True), tmp_path, limit_s=0.2)
    assert error.code == 0
    assert "PATCH /api/v1/namespaces/team-a/services/speech" in error.message


async def test_refused_connection_counts_as_no_answer(tmp_path: Path) -> None:
    server = ApiServerDouble(lambda asked: Answer())
    server.url = "http://127.0.0.1:1"
    connection = Connection(str(server.kubeconfig(tmp_path / "kubeconfig")), "", 4)
    await connection.load()
    with pytest.raises(ApiError) as raised:
        await KubernetesCluster(connection, Metrics(), "pod-1").serves("v1", "Pod")
    await connection.close()
    assert raised.value.code == 0


async def test_lists_are_read_page_by_page(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Answer:
        if "continue" not in asked.query:
            return Answer(body={"items": [{"metadata": {"name": "a"}}], "metadata": {"continue": "next"}})
        assert asked.query["continue"] == "next"
        return Answer(body={"items": [{"metadata": {"name": "b"}}], "metadata": {}})

    async with cluster_of(answer, tmp_path) as (cluster, server):
        found = await cluster.list("v1", "Pod", "team-a", label_selector="a=b", field_selector="c=d")
        pages = [page async for page in cluster.pages(POD, "", "a=b", metadata_only=True)]
    assert found == [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}} for name in "ab"]
    assert [len(page) for page in pages] == [1, 1]
    assert server.asked[0].query == {"labelSelector": "a=b", "fieldSelector": "c=d", "limit": "500"}
    assert server.asked[2].headers["Accept"] == METADATA_ONLY
    assert server.asked[2].path == "/api/v1/pods"


async def test_serves_reports_served_kinds(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.path != "/apis/monitoring.coreos.com/v1":
            return Answer(404, "404 page not found\n")
        return Answer(body={"resources": [{"name": "podmonitors"}, {"name": "podmonitors/status"}]})

    async with cluster_of(answer, tmp_path) as (cluster, _):
        assert await cluster.serves("monitoring.coreos.com/v1", "PodMonitor")
        assert not await cluster.serves("gateway.networking.k8s.io/v1", "HTTPRoute")


async def test_refused_credentials_are_read_again(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old")

    def answer(asked: Asked) -> Answer:
        if asked.headers.get("Authorization") == "Bearer new":
            return Answer(body=SERVICE)
        token.write_text("new")
        return failure(401, "Unauthorized", "who are you?")

    async with cluster_of(answer, tmp_path, {"tokenFile": str(token)}) as (cluster, server):
        answers = await asyncio.gather(*(cluster.get("v1", "Service", "team-a", "speech") for _ in range(3)))
    assert answers == [SERVICE] * 3
    assert {asked.headers["Authorization"] for asked in server.asked} == {"Bearer old", "Bearer new"}


async def test_credentials_refused_twice_are_an_error(tmp_path: Path) -> None:
    answer = failure(401, "Unauthorized", "who are you?")
    async with cluster_of(lambda asked: answer, tmp_path, {"token": "old"}) as (cluster, server):
        with pytest.raises(ApiError, match="who are you"):
            await cluster.get("v1", "Service", "team-a", "speech")
    assert len(server.asked) == 2


async def test_exec_plugin_provides_the_token(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    said = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "from-plugin"},
    }
    plugin.write_text(f"#!/bin/sh\necho '{json.dumps(said)}'\n")
    plugin.chmod(stat.S_IRWXU)
    user = {"exec": {"apiVersion": said["apiVersion"], "command": str(plugin), "interactiveMode": "Never"}}
    async with cluster_of(lambda asked: Answer(body=SERVICE), tmp_path, user) as (cluster, server):
        await cluster.get("v1", "Service", "team-a", "speech")
    assert server.asked[0].headers["Authorization"] == "Bearer from-plugin"


@pytest.mark.parametrize("text", ["", "not: [yaml", "{}", '{"current-context": "x", "contexts": []}'])
async def test_malformed_kubeconfig_stops_the_start(text: str, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(StartError, match="no way to the API server"):
        await Connection(str(path), "", 4).load()


async def test_missing_kubeconfig_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="/nowhere is not there: set KUBECONFIG"):
        await Connection("/nowhere", "", 4).load()


async def test_unwritable_event_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with cluster_of(lambda asked: failure(403, "Forbidden", "no"), tmp_path) as (cluster, server):
        await cluster.record_event(SERVICE, type_="Normal", reason="Ready", message="m", action="Reconcile")
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/apis/events.k8s.io/v1/namespaces/team-a/events")
    assert asked.body["regarding"] == {
        "apiVersion": "v1",
        "kind": "Service",
        "namespace": "team-a",
        "name": "speech",
        "uid": "u1",
    }
    assert (asked.body["reason"], asked.body["note"], asked.body["reportingInstance"]) == ("Ready", "m", "pod-1")


def test_proxies_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert proxy_of("https://10.96.0.1:443") is None
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "10.96.0.1,.svc")
    assert proxy_of("https://10.96.0.1:443") is None
    assert proxy_of("https://kubernetes.default.svc") is None
    assert proxy_of("https://api.example.com:6443") == "http://proxy:3128"
    assert proxy_of("http://api.example.com:8080") is None

"""The README's way: an endpoint is applied, is Ready, and an unmodified client gets the right words through the Ingress."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster_kit import tools
from cluster_kit.namespaces import fresh_namespace
from cluster_kit.reading import condition
from e2e_kit.ground import RELEASE, SYSTEM, Ground
from e2e_kit.served import Served
from server_kit import node_client
from server_kit.process import REPOSITORY
from speech_kit.scores import normalised, start_errors, word_errors
from speech_kit.sentences import LANGUAGES, sentences, spoken
from speech_kit.sounds import wav
from suite_kit.slow import SLOW

EXAMPLE = REPOSITORY / "docs" / "examples" / "demo.yaml"
HEARD_WHOLLY = (3, 13, 15, 18)
"""Sentences that the demo model gets without a mistake, in every language."""
IN_MAKE_TEST = ("en", "ru")
SAME_WAY = "tests/api shows the words of all languages, and the way is the same for all"


@dataclass(frozen=True)
class Example(Served):
    """The endpoint of docs/examples/demo.yaml."""

    @property
    def path(self) -> str:
        return "/demo"


@pytest.fixture(scope="module")
def example(operator: Ground, figure: Callable[[str], None]) -> Iterator[Example]:
    """Applied as it is."""
    with fresh_namespace(operator.cluster) as namespace:
        endpoint = Example(operator.cluster, namespace, "whisper-demo", origin=operator.origin)
        began_s = time.monotonic()
        operator.cluster.kubectl("apply", f"--namespace={namespace}", f"--filename={EXAMPLE}")
        ready = ["wep/whisper-demo", "--for=condition=Ready", "--timeout=5m"]
        operator.cluster.kubectl("wait", *ready, f"--namespace={namespace}", limit_s=310)
        figure(f"from `kubectl apply` to Ready: {time.monotonic() - began_s:.1f} s")
        yield endpoint


def test_a_pod_is_ready_soon_after_its_start(example: Example, figure: Callable[[str], None]) -> None:
    (pod,) = example.ready_pods()
    container = pod["status"]["containerStatuses"][0]
    began, ready = container["state"]["running"]["startedAt"], condition(pod, "Ready")["lastTransitionTime"]
    took_s = (datetime.fromisoformat(ready) - datetime.fromisoformat(began)).total_seconds()
    figure(f"from a CPU pod's start to Ready: {took_s:.0f} s")
    assert container["restartCount"] == 0
    assert took_s <= 60 * SLOW


@pytest.mark.parametrize(
    "language",
    [
        pytest.param(language, marks=() if language in IN_MAKE_TEST else pytest.mark.before_release(because=SAME_WAY))
        for language in LANGUAGES
    ],
)
def test_the_words_are_right(example: Example, language: str) -> None:
    for index in HEARD_WHOLLY:
        said = spoken(language, index)
        assert normalised(example.transcribe(wav(said.samples))) == normalised(said.text)


def test_the_readmes_command_is_answered(example: Example) -> None:
    form = ["-F", "model=whisper-1", "-F", f"file=@{REPOSITORY / 'demo' / 'clip.wav'}"]
    command = ["curl", "--silent", "--show-error", "--fail", f"{example.base_url}/audio/transcriptions", *form]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert json.loads(said)["text"] == "The quick brown fox jumps over the lazy dog."


def test_every_format_comes_through(example: Example) -> None:
    said = spoken("en", HEARD_WHOLLY[0])
    with example.client() as client:

        def ask(**fields: Any) -> Any:
            file = ("clip.wav", wav(said.samples))
            return client.audio.transcriptions.create(file=file, model="whisper-1", **fields)

        srt, vtt = ask(response_format="srt"), ask(response_format="vtt")
        assert srt.startswith("1\n00:00:0")
        assert vtt.startswith("WEBVTT\n\n00:00:0")
        assert ask(response_format="text").strip() == ask().text
        verbose = ask(response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert (verbose.language, verbose.task) == ("english", "transcribe")
    assert verbose.duration == pytest.approx(said.duration_s, abs=0.02)
    words = [(word.word, word.start) for word in verbose.words]
    errors = start_errors(said.words, words)
    assert len(errors.errors_s) == sum(word.start_s is not None for word in said.words)
    assert max(errors.errors_s) <= 0.15, errors


def test_the_other_routes_are_answered(example: Example) -> None:
    said = spoken("de", HEARD_WHOLLY[0])
    with example.client() as client:
        file = ("clip.wav", wav(said.samples))
        translated = client.audio.translations.create(file=file, model="whisper-1", response_format="verbose_json")
        models = {model.id for model in client.models.list()}
        assert client.models.retrieve("whisper-1").id == "whisper-1"
    assert translated.task == "translate"  # type: ignore[attr-defined]
    assert translated.text
    assert {"demo", "whisper", "whisper-1", "gpt-4o-transcribe"} <= models


def test_the_documentation_works_below_the_prefix(example: Example) -> None:
    with httpx.Client(base_url=example.origin) as client:
        page = client.get(f"{example.path}/docs", follow_redirects=True)
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assets = [part.split('"')[0] for part in page.text.replace('src="', 'href="').split('href="')[1:]]
        assert any("/docs/" in str(page.url.join(asset)) for asset in assets)
        for asset in (asset for asset in assets if not asset.startswith("data:")):
            found = client.get(str(page.url.join(asset)))
            assert found.status_code == 200, asset
        described = client.get(f"{example.path}/openapi.json").json()
    assert [server["url"] for server in described["servers"]] == [example.path]


@pytest.mark.parametrize(
    "path", ["/metrics", "/ready", "/health", "/v1/models", "/docs", "/demo/metrics", "/demo/ready", "/demo/health"]
)
def test_nothing_else_is_reached_from_outside(example: Example, path: str) -> None:
    answer = httpx.get(f"{example.origin}{path}")
    assert answer.status_code == 404
    assert "x-request-id" not in answer.headers or answer.headers.get("server") == "envoy"
    assert not answer.content.startswith(b'{"error"'), "the server itself has answered"


def test_nodes_client_gets_the_same(example: Example, tmp_path: Path) -> None:
    try:
        folder = node_client.installed()
    except node_client.NoNode as why:
        pytest.skip(str(why))
    clip = tmp_path / "clip.wav"
    clip.write_bytes(wav(spoken("en", 0).samples))
    results = node_client.every_call(folder, example.base_url, clip)
    for name in ("plain", "language", "prompt", "stream_off"):
        assert word_errors([sentences("en")[0]], [results[name]["value"]["text"]]).n_edits <= 2
    *deltas, done = results["stream"]["value"]
    assert "".join(delta["delta"] for delta in deltas) == done["text"]
    assert results["srt"]["value"].startswith("1\n00:00:0")
    error = results["unknown_model"]["error"]
    assert (error["name"], error["status"], error["param"]) == ("NotFoundError", 404, "model")


def test_the_address_in_the_status_is_right(example: Example) -> None:
    """Without a host, it is the one inside of the cluster: asked from within."""
    url = example.document()["status"]["url"]
    assert url == f"http://whisper-demo.{example.namespace}.svc.cluster.local/demo/v1"
    (pod,) = example.ready_pods()
    ask = f"import urllib.request; print(urllib.request.urlopen('{url}/models', timeout=30).read().decode())"
    exec_ = ["exec", pod["metadata"]["name"], f"--namespace={example.namespace}", "--", "python3", "-c", ask]
    assert "whisper-1" in {model["id"] for model in json.loads(example.cluster.kubectl(*exec_))["data"]}


def test_helm_test_transcribes_inside_of_the_cluster(
    operator: Ground, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    began_s = time.monotonic()
    command = [str(tools.path("helm")), "test", RELEASE, f"--namespace={SYSTEM}"]
    environment = {"HOME": str(tmp_path), "KUBECONFIG": str(operator.cluster.kubeconfig)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=290)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    figure(f"`helm test`: {time.monotonic() - began_s:.1f} s")
    assert "heard: The quick brown fox jumps over the lazy dog." in said
    assert "every word is right; the endpoint is deleted" in said
    assert operator.cluster.find("wep", SYSTEM) == []
    names = {one["metadata"]["name"] for one in operator.cluster.find("pods", SYSTEM)}
    assert not [name for name in names if name.endswith("-test")]

"""Pods, server and documentation agree about memory: for every example, chart value and default, requests fit in what is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from operator_kit.chosen import operator_settings
from operator_kit.endpoints import merged, parsed_endpoint
from whisper_operator.errors import SpecError
from whisper_operator.manifests import make_children
from whisper_operator.manifests.resources import bytes_of
from whisper_operator.resource.choices import GpuClass
from whisper_runtime.memory import (
    DECODER_BYTES,
    GIB,
    GPU_SERVER_BYTES,
    MAX_DECODERS,
    MIB,
    SERVER_BYTES,
    budget_for_bytes,
    model_bytes,
    n_decoders,
    reserved_bytes,
)
from whisper_server.memory.pod import BudgetPlan, PodMemory
from whisper_server.settings import Settings

ROOT = Path(__file__).parents[2]
Document = dict[str, Any]


def specs() -> Iterator[tuple[str, Document]]:
    """Every spec that we show or assume."""
    for path in sorted((ROOT / "docs" / "examples").glob("*.yaml")):
        yield path.name, yaml.safe_load(path.read_text())["spec"]
    for path in (*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", *(ROOT / "charts").glob("*/README.md")):
        for n, block in enumerate(re.findall(r"```yaml\n(.*?)```", path.read_text(), re.DOTALL)):
            document = next(iter(yaml.safe_load_all(block)), None)
            if isinstance(document, dict) and document.get("kind") == "WhisperEndpoint":
                yield f"{path.name}_{n}", document["spec"]
    for path in sorted((ROOT / "charts" / "whisper-endpoints" / "ci").glob("*.yaml")):
        values = yaml.safe_load(path.read_text()) or {}
        for name, endpoint in (values.get("endpoints") or {}).items():
            yield f"{path.stem}_{name}", merged(values.get("common") or {}, endpoint.get("spec") or {})
    for gpu_class in ("none", "auto"):
        for model in ("demo", "tiny", "base", "small", "medium", "large-v3", "large-v3-turbo"):
            model_id = model if model == "demo" else f"openai/whisper-{model}"
            yield f"default_{gpu_class}_{model}", {"model": {"id": model_id}, "gpu": {"class": gpu_class}}
    yield "long_recordings", {"gpu": {"class": "none"}, "transcription": {"maxAudioSeconds": 86_400}}
    yield "large_uploads", {"gpu": {"class": "none"}, "access": {"maxUploadBytes": 2 * GIB}}


SPECS = dict(specs())


def container(spec: Document) -> Document:
    made = make_children(parsed_endpoint(spec), operator_settings(), served_kinds=frozenset(), ingress_controller="")
    (pod,) = [child["spec"]["template"]["spec"] for child in made if child["kind"] == "Deployment"]
    (found,) = pod["containers"]
    return dict(found)


def test_every_kind_of_spec_is_among_them() -> None:
    assert {"demo.yaml", "cpu.yaml", "t4.yaml", "default_none_demo"} <= set(SPECS)
    assert any(name.startswith("README.md") for name in SPECS)
    assert any(name.startswith("all-values") for name in SPECS)


@pytest.mark.parametrize("name", SPECS)
def test_pod_holds_server_model_decoders_and_budget(name: str) -> None:
    """And the budget, as the server works it out in that pod, holds what the spec accepts."""
    spec = SPECS[name]
    found = container(spec)
    resources, variables = found["resources"], {each["name"]: each.get("value", "x") for each in found["env"]}
    settings = Settings.from_env(variables)
    limit = resources.get("limits", {}).get("memory")
    pod = PodMemory(None if limit is None else bytes_of(limit), settings.memory_request_bytes or None)
    assert pod.n_bytes is not None, "the server knows neither limit nor request"
    assert limit is not None or settings.memory_request_bytes == bytes_of(resources["requests"]["memory"])

    endpoint = parsed_endpoint(spec)
    n_workers = n_decoders(settings.decode_workers, MAX_DECODERS, pod.n_bytes)
    on_gpu = endpoint.spec.gpu.class_ is not GpuClass.NONE
    held = (GPU_SERVER_BYTES if on_gpu else SERVER_BYTES + model_bytes(settings.model_id)) + n_workers * DECODER_BYTES
    budget_bytes = BudgetPlan(
        pod,
        asked_bytes=settings.memory_budget_bytes,
        max_upload_bytes=settings.max_upload_bytes,
        max_audio_s=settings.chosen_longest_s,
        n_workers=n_workers,
    ).budget_bytes(held)

    assert reserved_bytes(held, n_workers) + budget_bytes <= pod.n_bytes
    assert budget_bytes >= budget_for_bytes(settings.chosen_longest_s, settings.max_upload_bytes)


def test_longer_recordings_raise_the_memory_requested() -> None:
    def requested(**transcription: int) -> int:
        spec = {"gpu": {"class": "none"}, "transcription": transcription}
        return bytes_of(container(spec)["resources"]["requests"]["memory"])

    assert requested() == requested(maxAudioSeconds=3_600) == 2 * GIB
    assert requested(maxAudioSeconds=86_400) - requested() >= 86_400 * 64_000 - GIB


def test_limit_that_cannot_hold_the_recordings_is_refused() -> None:
    def spec(limit: str, **transcription: int) -> Document:
        return {
            "gpu": {"class": "none"},
            "transcription": transcription,
            "pod": {"resources": {"limits": {"memory": limit}}},
        }

    with pytest.raises(SpecError) as refusal:
        container(spec("1Gi", maxAudioSeconds=86_400))
    message = str(refusal.value)
    assert message.startswith("spec.pod.resources.limits.memory: 1Gi cannot hold what transcription.maxAudioSeconds")
    assert "write 7Gi" in message
    assert container(spec("7Gi", maxAudioSeconds=86_400))["resources"] == {"limits": {"memory": "7Gi"}}
    assert container(spec("256Mi"))["resources"] == {"limits": {"memory": "256Mi"}}, "the server itself refuses it"


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("2Gi", 2 * GIB),
        ("1.5G", 1_500_000_000),
        ("512Mi", 512 * MIB),
        ("129e6", 129_000_000),
        ("1E3", 1_000),
        ("2E", 2 * 10**18),
        ("128974848000m", 128_974_848),
        (1_048_576, MIB),
        ("100k", 100_000),
    ],
)
def test_amounts_are_read_as_kubernetes_reads_them(text: str | int, n_bytes: int) -> None:
    assert bytes_of(text) == n_bytes

"""What the operator's settings allow in an endpoint: registries of images, keys of annotations."""

from __future__ import annotations

from typing import Any

import pytest

from operator_kit.chosen import operator_settings
from operator_kit.endpoints import parsed_endpoint
from operator_kit.policy_cases import ALLOWED, OF_ALLOWED, OF_OTHERS, TEXT_FOR_PROXIES
from whisper_operator.errors import SpecError
from whisper_operator.manifests import make_children
from whisper_operator.settings import Settings
from whisper_operator.status.reasons import NOT_ALLOWED

Document = dict[str, Any]


def refusal(spec: Document, settings: Settings) -> str:
    """Why the children are not made; empty: they are."""
    try:
        make_children(parsed_endpoint(spec), settings, served_kinds=frozenset(), ingress_controller="nginx")
    except SpecError as error:
        return str(error) if error.reason == NOT_ALLOWED else f"another reason: {error.reason}"
    return ""


def only(*registries: str, **defaults: Any) -> Settings:
    return operator_settings(allowed_image_registries=registries, defaults=defaults)


@pytest.mark.parametrize("image", OF_ALLOWED)
def test_image_of_an_allowed_registry_is_accepted(image: str) -> None:
    assert refusal({"pod": {"image": image}}, only(*ALLOWED)) == ""


@pytest.mark.parametrize("image", OF_OTHERS)
def test_image_of_another_registry_is_refused(image: str) -> None:
    assert refusal({"pod": {"image": image}}, only(*ALLOWED)).startswith(f"spec.pod.image: {image} is not from")


def test_refusal_of_an_image_names_field_and_value_to_change() -> None:
    spec = {"cache": {"image": {"reference": "evil.example/models:1"}}, "model": {"id": "/models/x"}}
    assert refusal(spec, only("a.example", "b.example/team")) == (
        "spec.cache.image.reference: evil.example/models:1 is not from a registry that this cluster allows: write an image"
        " from a.example or b.example/team, leave the field out, or have the registry added to"
        " policy.allowedImageRegistries of the operator's chart (ALLOWED_IMAGE_REGISTRIES)"
    )


@pytest.mark.parametrize(
    ("address", "is_allowed"),
    [
        ("a.example/team/whisper:v1", True),
        ("b.example/team/whisper@sha256:" + "0" * 64, True),
        ("b.example/team2/whisper:v1", False),
        ("evil.example/a.example/whisper:v1", False),
        ("a.example:5000/team/whisper", False),
        ("a/team/whisper", False),
    ],
)
def test_model_comes_from_an_allowed_registry(address: str, is_allowed: bool) -> None:
    refused = refusal({"model": {"id": f"oci://{address}"}}, only("a.example", "b.example/team"))
    assert (refused == "") is is_allowed
    assert is_allowed or refused.startswith(f"spec.model.id: oci://{address} is not in a registry that this cluster")


def test_host_of_a_model_is_no_repository_of_docker_hub() -> None:
    assert "is not in a registry" in refusal({"model": {"id": "oci://host/x:1"}}, only("docker.io"))
    assert refusal({"model": {"id": "oci://docker.io/team/x:1"}}, only("docker.io")) == ""


def test_capital_letters_make_a_host_and_no_repository_of_docker_hub() -> None:
    assert "HOST/x:1 is not from" in refusal({"pod": {"image": "HOST/x:1"}}, only("docker.io"))
    assert refusal({"pod": {"image": "host/x:1"}}, only("docker.io")) == ""


def test_mirror_of_the_chart_counts_as_the_registry() -> None:
    spec = {"pod": {"image": "team/x:1"}}
    assert refusal(spec, only("mirror.example", image_registry="mirror.example")) == ""
    assert "mirror.example/team/x:1 is not from" in refusal(spec, only("docker.io", image_registry="mirror.example"))


def test_default_image_is_always_allowed() -> None:
    assert refusal({}, only("nowhere.example")) == ""


def test_any_registry_is_allowed_where_none_is_named() -> None:
    assert refusal({"pod": {"image": "evil.example/x:1"}}, operator_settings()) == ""


def annotated(place: str, key: str) -> Document:
    annotations = {"annotations": {key: "x"}}
    return {"exposure": {"ingress": annotations}} if place == "ingress" else {place: annotations}


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ("ingress", "exposure.ingress.annotations"),
        ("service", "service.annotations"),
        ("pod", "pod.annotations"),
    ],
)
def test_refused_annotation_is_refused_in_every_place(place: str, path: str) -> None:
    settings = operator_settings(refused_annotations=("*.example/*",))
    assert refusal(annotated(place, "a.example/b"), settings) == (
        f"spec.{path}[a.example/b]: this cluster refuses annotations like *.example/*: leave it out, or have the pattern"
        " removed from policy.refusedAnnotations of the operator's chart (REFUSED_ANNOTATIONS)"
    )
    assert refusal(annotated(place, "a.example.com/b"), settings) == ""


@pytest.mark.parametrize("key", TEXT_FOR_PROXIES)
def test_text_for_a_shared_proxy_is_refused_by_default(key: str) -> None:
    default = Settings.from_env({"SERVER_IMAGE_GPU": "a", "SERVER_IMAGE_CPU": "b"}, str)
    assert f"exposure.ingress.annotations[{key}]" in refusal(annotated("ingress", key), default)
    assert refusal(annotated("ingress", "nginx.ingress.kubernetes.io/limit-rps"), default) == ""


def test_annotations_of_operator_and_chart_are_not_refused() -> None:
    settings = operator_settings(refused_annotations=("*",), defaults={"pod_annotations": {"a": "b"}})
    assert refusal({"exposure": {"ingress": {"host": "a.example"}}}, settings) == ""

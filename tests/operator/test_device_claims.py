"""A GPU by dynamic resource allocation: the template, the pod's claim, the selectors of devices."""

from __future__ import annotations

from typing import Any

import pytest

from operator_kit.chosen import operator_settings
from operator_kit.endpoints import parsed_endpoint
from whisper_operator.errors import SpecError
from whisper_operator.manifests import make_children

Document = dict[str, Any]
CAPABILITY = "device.attributes['gpu.nvidia.com'].cudaComputeCapability"
OURS = "device.driver == 'gpu.nvidia.com'"


def children(gpu: Document, served: str = "ResourceClaimTemplate", **spec: Any) -> dict[str, Document]:
    endpoint = parsed_endpoint({"gpu": {"deviceClassName": "gpu.nvidia.com", **gpu}, **spec})
    made = make_children(endpoint, operator_settings(), served_kinds=frozenset({served}), ingress_controller="")
    return {child["kind"]: child for child in made}


def expression(gpu: Document, **spec: Any) -> str:
    (request,) = children(gpu, **spec)["ResourceClaimTemplate"]["spec"]["spec"]["devices"]["requests"]
    (selector,) = request["exactly"]["selectors"]
    return str(selector["cel"]["expression"])


def test_pod_claims_one_device_and_requests_no_resource() -> None:
    made = children({"class": "t4"})
    template, pod = made["ResourceClaimTemplate"], made["Deployment"]["spec"]["template"]["spec"]
    (claim,) = pod["resourceClaims"]
    assert claim == {"name": "gpu", "resourceClaimTemplateName": template["metadata"]["name"]}
    (container,) = pod["containers"]
    assert container["resources"]["claims"] == [{"name": "gpu"}]
    assert "limits" not in container["resources"]
    terms = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    keys = [each["key"] for term in terms for each in term["matchExpressions"]]
    assert keys == ["kubernetes.io/os", "kubernetes.io/arch"]
    (request,) = template["spec"]["spec"]["devices"]["requests"]
    assert (request["exactly"]["deviceClassName"], request["exactly"]["count"]) == ("gpu.nvidia.com", 1)


def test_claims_have_the_common_labels_and_annotations_and_a_change_makes_another_template() -> None:
    plain, marked, other = (
        children({"class": "t4"}, commonLabels=labels, commonAnnotations=labels)["ResourceClaimTemplate"]
        for labels in ({}, {"cost-center": "7"}, {"cost-center": "8"})
    )
    assert marked["spec"]["metadata"] == {
        "labels": {"cost-center": "7", **plain["spec"]["metadata"]["labels"]},
        "annotations": {"cost-center": "7"},
    }
    assert set(plain["spec"]["metadata"]) == {"labels"}
    assert len({each["metadata"]["name"] for each in (plain, marked, other)}) == 3


def test_template_that_asks_for_something_else_has_another_name() -> None:
    names = {
        children(gpu)["ResourceClaimTemplate"]["metadata"]["name"]
        for gpu in ({"class": "t4"}, {"class": "ada"}, {"class": "ada", "minMemoryGiB": 24}, {"class": "ada"})
    }
    assert len(names) == 3


@pytest.mark.parametrize(
    ("gpu", "spec", "asked"),
    [
        ({"class": "t4"}, {}, f"{CAPABILITY}.major() == 7 && {CAPABILITY}.minor() == 5"),
        ({"class": "ampere"}, {}, f"{CAPABILITY}.major() == 8 && {CAPABILITY}.minor() != 9"),
        ({"class": "blackwell"}, {}, f"{CAPABILITY}.major() in [10, 12]"),
        ({"class": "auto"}, {}, f"{CAPABILITY}.compareTo(semver('7.5.0')) >= 0"),
        ({"class": "auto"}, {"engine": {"dtype": "bfloat16"}}, f"{CAPABILITY}.compareTo(semver('8.0.0')) >= 0"),
        (
            {"class": "hopper", "minMemoryGiB": 80},
            {},
            f"{CAPABILITY}.major() == 9 && device.capacity['gpu.nvidia.com'].memory.compareTo(quantity('75367Mi')) >= 0",
        ),
    ],
)
def test_class_and_memory_select_devices(gpu: Document, spec: Document, asked: str) -> None:
    assert expression(gpu, **spec) == f"{OURS} && {asked}"


def test_cluster_without_the_kind_is_named() -> None:
    with pytest.raises(SpecError, match=r"does not serve resource.k8s.io/v1, which Kubernetes 1.34 and later have"):
        children({"class": "t4"}, served="HTTPRoute")


def test_class_on_which_the_server_does_not_start_is_refused() -> None:
    with pytest.raises(SpecError, match=r"gpu.class"):
        children({"class": "t4"}, engine={"dtype": "bfloat16"})

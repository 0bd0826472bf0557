"""GPUs by dynamic resource allocation, on the real API server, scheduler and claim controller.

The test writes what NVIDIA's DRA driver writes: a DeviceClass, and a ResourceSlice for each node.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cluster_kit.cluster import Cluster, Document
from cluster_kit.nodes import Nodes
from cluster_kit.simulated_nodes import NodeSpec
from operator_kit.live_endpoint import SOON_S, START_S, LiveEndpoint, stuck

DRIVER = "gpu.nvidia.com"
GROUP = "resource.k8s.io/v1"
DEVICES = {"dra-t4": ("Tesla T4", "7.5.0", 15360), "dra-h100": ("NVIDIA H100 80GB HBM3", "9.0.0", 81559)}

pytestmark = pytest.mark.usefixtures("gpus")


def device_class(name: str) -> Document:
    chosen = {"cel": {"expression": f"device.driver == '{DRIVER}' && device.attributes['{DRIVER}'].type == 'gpu'"}}
    return {"apiVersion": GROUP, "kind": "DeviceClass", "metadata": {"name": name}, "spec": {"selectors": [chosen]}}


def resource_slice(node: str, product: str, capability: str, memory_mib: int) -> Document:
    attributes = {
        "type": {"string": "gpu"},
        "productName": {"string": product},
        "cudaComputeCapability": {"version": capability},
    }
    device = {"name": "gpu-0", "attributes": attributes, "capacity": {"memory": {"value": f"{memory_mib}Mi"}}}
    pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": DRIVER, "nodeName": node, "pool": pool, "devices": [device]}
    return {"apiVersion": GROUP, "kind": "ResourceSlice", "metadata": {"name": f"{node}-gpus"}, "spec": spec}


@pytest.fixture(scope="module")
def gpus(cluster: Cluster) -> Iterator[None]:
    simulated = Nodes(cluster)
    simulated.only("cpu", *(NodeSpec(name) for name in DEVICES))
    slices = [resource_slice(node, *about) for node, about in DEVICES.items()]
    cluster.apply(device_class(DRIVER), *slices)
    yield
    cluster.delete("resourceslices", *(one["metadata"]["name"] for one in slices))
    cluster.delete("deviceclass", DRIVER)
    simulated.restore()


def asks(gpu_class: str, **gpu: Any) -> Document:
    return {"gpu": {"class": gpu_class, "deviceClassName": DRIVER, **gpu}}


def templates(endpoint: LiveEndpoint) -> list[str]:
    return [one["metadata"]["name"] for one in endpoint.cluster.find("resourceclaimtemplates", endpoint.namespace)]


def nodes_of(endpoint: LiveEndpoint) -> list[str]:
    live = [pod for pod in endpoint.pods() if "deletionTimestamp" not in pod["metadata"]]
    return [pod["spec"].get("nodeName", "") for pod in live]


def test_pod_gets_a_device_of_its_class_and_changes_with_it(endpoint: LiveEndpoint) -> None:
    endpoint.apply(asks("hopper", minMemoryGiB=80))
    endpoint.expect(START_S, Ready="True Ready")
    assert nodes_of(endpoint) == ["dra-h100"]
    (claim,) = endpoint.cluster.find("resourceclaims", endpoint.namespace)
    (result,) = claim["status"]["allocation"]["devices"]["results"]
    assert (result["driver"], result["pool"], result["device"]) == (DRIVER, "dra-h100", "gpu-0")
    before = templates(endpoint)

    endpoint.apply(asks("t4"))
    endpoint.cluster.wait(lambda: nodes_of(endpoint) == ["dra-t4"], START_S, "the pod is on the other node")
    endpoint.expect(START_S, Ready="True Ready", RolledOut="True RolledOut")
    assert len(templates(endpoint)) == 1
    assert templates(endpoint) != before


@pytest.mark.before_release(
    because="the same claims are allocated by the test above, and the messages are functions of values"
)
def test_message_says_that_no_device_is_free(cluster: Cluster, namespace: str, punctual_operator: None) -> None:
    first, second = (LiveEndpoint(cluster, namespace, name) for name in ("first", "second"))
    first.apply(asks("auto", minMemoryGiB=40))
    first.expect(START_S, Ready="True Ready")
    assert nodes_of(first) == ["dra-h100"]
    second.apply(asks("auto", minMemoryGiB=40))
    told = second.expect(SOON_S, **stuck("InsufficientGPU"), Scheduled="False InsufficientGPU")
    assert (
        f"No node has a free device of DeviceClass {DRIVER} that gpu.class auto with gpu.minMemoryGiB 40 allows: free one"
    ) in told["Ready"]
    cluster.delete("wep", "first", namespace=namespace)
    second.expect(60, Ready="True Ready")


@pytest.mark.before_release(because="as above")
def test_missing_device_class_is_named(endpoint: LiveEndpoint) -> None:
    endpoint.apply({"gpu": {"class": "auto", "deviceClassName": "gpu.example.com"}})
    told = endpoint.expect(SOON_S, **stuck("InsufficientGPU"))
    assert "There is no DeviceClass gpu.example.com (gpu.deviceClassName)" in told["Ready"]

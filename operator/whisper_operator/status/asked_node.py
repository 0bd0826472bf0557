"""The node that a pod asks for: the GPU by the spec, and labels by the spec, the chart's defaults and the pod itself. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from whisper_operator.gpus import (
    is_left_open,
    needed_capability,
    node_selector_terms,
    platform_of_image,
    terms_by_capability,
)
from whisper_operator.resource.choices import GpuClass
from whisper_operator.resource.fields import Document
from whisper_operator.resource.spec import Gpu, Spec
from whisper_operator.snapshot import NodeOffer
from whisper_operator.status.accessors import get_list, get_map, get_value
from whisper_operator.status.node_match import REQUIRED, fits_one_of, is_selected
from whisper_runtime.capability import VLLM

DEFAULT_SELECTOR = "defaults.nodeSelector of the operator's chart"


@dataclasses.dataclass(frozen=True, kw_only=True)
class AskedNode:
    """What a pod asks of its node."""

    spec: Spec
    pod: Document

    @property
    def resource(self) -> str:
        """The resource of which each pod requests one; empty: none."""
        gpu = self.spec.gpu
        return "" if gpu.class_ is GpuClass.NONE or gpu.device_class_name else gpu.resource_name

    @property
    def selector(self) -> Mapping[str, str]:
        """Labels by the spec and, where the pod has them, by the chart's defaults."""
        return {**self.spec.pod.node_selector, **get_map(self.pod, "spec", "nodeSelector")}

    @property
    def n_gpus(self) -> int:
        """How many of the resource a node must have free: one for the server, and those of the author's own containers."""
        return max(1, n_requested(self.pod, self.resource))

    @property
    def gpu(self) -> str:
        """What restricts the GPU, in the spec's words."""
        gpu, lowest = self.spec.gpu, needed_capability(self.spec.engine).lowest
        asks = [
            f"gpu.minMemoryGiB {gpu.min_memory_gib}" if gpu.min_memory_gib else "",
            f"compute capability {lowest[0]}.{lowest[1]} for its engine settings" if lowest > VLLM else "",
        ]
        more = " and ".join(each for each in asks if each)
        return f"gpu.class {gpu.class_}" + (f" with {more}" if more else "")

    @property
    def own_fields(self) -> str:
        """Fields that ask for labels in addition to `gpu`; empty: none."""
        own = self.spec.pod.node_selector
        asked = {
            "pod.nodeSelector": bool(own),
            DEFAULT_SELECTOR: not set(self.selector) <= set(own),
            "pod.affinity": self._own_affinity.get(REQUIRED) is not None,
        }
        return " and ".join(field for field, is_given in asked.items() if is_given)

    @property
    def allow(self) -> str:
        """Subject and verb of what the GPU must have."""
        return f"{self.gpu}, with {self.own_fields}, allows" if self.own_fields else f"{self.gpu} allows"

    @property
    def platform(self) -> Mapping[str, str]:
        """Labels that the images need."""
        return platform_of_image(self.selector)

    def runs_images(self, node: NodeOffer) -> bool:
        return all(node.labels.get(key, value) == value for key, value in self.platform.items())

    def nodes_for(self, gpu: Gpu, nodes: Iterable[NodeOffer]) -> list[NodeOffer]:
        """Nodes with labels that show a GPU that `gpu`, in place of the spec's, and the engine allow. Raises SpecError."""
        terms = node_selector_terms(gpu, self.spec.engine)
        return [node for node in nodes if not terms or fits_one_of(terms, node)]

    def nodes_left_open(self, nodes: Iterable[NodeOffer]) -> list[NodeOffer]:
        """Nodes without the labels that would show whether `gpu` and the engine allow their GPU. Raises SpecError."""
        gpu, engine = self.spec.gpu, self.spec.engine
        terms = terms_by_capability(gpu, engine)
        return [node for node in nodes if is_left_open(node.labels, terms, gpu, engine)]

    def missed_label(self, node: NodeOffer) -> tuple[str, str, str] | None:
        """The field, key and value of a label that the node has not."""
        for key, value in self.selector.items():
            if node.labels.get(key) != value:
                return "pod.nodeSelector" if key in self.spec.pod.node_selector else DEFAULT_SELECTOR, key, value
        return None

    def has_own_labels(self, node: NodeOffer) -> bool:
        """Whether the node has all labels that are asked for in addition to `gpu`."""
        own = {"nodeSelector": self.selector, "affinity": {"nodeAffinity": self._own_affinity}}
        return is_selected({"spec": own}, node)

    @property
    def _own_affinity(self) -> Document:
        return get_map(self.spec.pod.affinity or {}, "nodeAffinity")


def n_requested(pod: Document, resource: str) -> int:
    """As the scheduler counts: all containers that run together, or an init container and the sidecars before it."""
    n_sidecars, n_first = 0, 0
    for container in get_list(pod, "spec", "initContainers"):
        n_gpus = _of_container(container, resource)
        if container.get("restartPolicy") == "Always":
            n_sidecars += n_gpus
        else:
            n_first = max(n_first, n_sidecars + n_gpus)
    containers = get_list(pod, "spec", "containers")
    return max(n_first, n_sidecars + sum(_of_container(each, resource) for each in containers))


def _of_container(container: Document, resource: str) -> int:
    """Limits and requests of an extended resource are equal, where both are written."""
    for kind in ("limits", "requests"):
        amount = str(get_value(container, "resources", kind, resource) or "")
        if amount.isdigit():
            return int(amount)
    return 0

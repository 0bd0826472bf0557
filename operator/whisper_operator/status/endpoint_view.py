"""What a status is computed from: an endpoint and its ClusterSnapshot, with derived values that several modules use.

Terminating pods are never judged; failed pods are separate from live ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property

from whisper_operator import names
from whisper_operator.resource.fields import Document
from whisper_operator.resource.spec import Endpoint
from whisper_operator.snapshot import ChildKey, ClusterSnapshot
from whisper_operator.status.accessors import get_int, get_list, get_map, get_str, get_value
from whisper_operator.status.conditions import Condition, Truth, condition_of, conditions_of

ENDED_PHASES = frozenset({"Failed", "Succeeded"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class EndpointView:
    """An endpoint, its ClusterSnapshot, and values derived from both."""

    document: Document
    """The WhisperEndpoint as the API server has it."""
    endpoint: Endpoint | None
    """None if the spec could not be parsed."""
    snapshot: ClusterSnapshot
    now: datetime

    @property
    def namespace(self) -> str:
        return str(self.document["metadata"]["namespace"])

    @property
    def name(self) -> str:
        return str(self.document["metadata"]["name"])

    @cached_property
    def previous(self) -> Mapping[str, Document]:
        """The conditions of the previous status, by type."""
        return conditions_of(self.document)

    @property
    def n_ready_before(self) -> int:
        """`readyReplicas` of the previous status."""
        return get_int(self.document, "status", "readyReplicas")

    def as_before(self, type_: str) -> Condition | None:
        """The previous condition, unchanged: if the spec cannot be parsed, the children are left untouched."""
        before = self.previous.get(type_)
        if before is None:
            return None
        message = str(before.get("message", ""))
        return Condition(type=type_, status=Truth(before["status"]), reason=str(before["reason"]), message=message)

    def child(self, kind: str, name: str = "") -> Document | None:
        """A child that exists and is not terminating."""
        found = self.snapshot.children.get(ChildKey(kind, name or names.child_name(self.name)))
        return None if found is None or is_terminating(found) else found

    @cached_property
    def deployment(self) -> Document | None:
        return self.child("Deployment")

    @cached_property
    def deployment_is_current(self) -> bool:
        """Whether the Deployment's status refers to its newest spec."""
        if self.deployment is None:
            return False
        return get_int(self.deployment_status, "observedGeneration") >= get_int(
            self.deployment, "metadata", "generation"
        )

    @cached_property
    def deployment_status(self) -> Document:
        return get_map(self.deployment or {}, "status")

    @cached_property
    def pods(self) -> tuple[Document, ...]:
        """Live pods, oldest first."""
        return tuple(pod for pod in self.snapshot.pods if not is_terminating(pod) and not has_ended(pod))

    @cached_property
    def failed_pods(self) -> tuple[Document, ...]:
        return tuple(pod for pod in self.snapshot.pods if not is_terminating(pod) and has_ended(pod))

    @cached_property
    def terminating_pods(self) -> tuple[Document, ...]:
        """Pods that are being deleted but still hold their node and its GPU."""
        terminating = (pod for pod in self.snapshot.pods if is_terminating(pod) and not has_ended(pod))
        return tuple(pod for pod in terminating if node_of(pod))

    @cached_property
    def new_pods(self) -> tuple[Document, ...]:
        """Pods with the Deployment's newest settings; all pods if none has them yet."""
        wanted = self._settings_hash
        new = tuple(pod for pod in self.pods if wanted and settings_hash(pod) == wanted)
        return new or self.pods

    @cached_property
    def has_old_pods(self) -> bool:
        """Whether pods with earlier settings still exist."""
        wanted = self._settings_hash
        return any(wanted and settings_hash(pod) != wanted for pod in self.pods)

    @property
    def _settings_hash(self) -> str:
        return settings_hash(get_map(self.deployment or {}, "spec", "template"))

    @cached_property
    def n_ready(self) -> int:
        """Ready pods: the smaller count of the pods and of their Deployment, whichever event arrived first."""
        return min(get_int(self.deployment_status, "readyReplicas"), sum(is_ready(pod) for pod in self.pods))

    @cached_property
    def has_endpoint(self) -> bool:
        """Whether the Service sends requests to a pod: an address is ready unless its slice denies it."""
        if self.snapshot.slices is None:
            return True
        of_service = names.child_name(self.name)
        slices = [one for one in self.snapshot.slices if _service_of(one) == of_service and not is_terminating(one)]
        return any(
            get_value(address, "conditions", "ready") is not False
            for one in slices
            for address in get_list(one, "endpoints")
        )

    @cached_property
    def suspended(self) -> bool:
        if self.endpoint is not None:
            return self.endpoint.spec.suspend
        return get_value(self.document, "spec", "suspend") is True

    @cached_property
    def n_wanted(self) -> int:
        """Pods that the spec asks for; if it cannot be parsed, the Deployment's replicas."""
        if self.suspended:
            return 0
        if self.endpoint is not None:
            return self.endpoint.spec.replicas
        return get_int(self.deployment or {"spec": {"replicas": 1}}, "spec", "replicas")

    @cached_property
    def startup_seconds(self) -> int:
        return self.endpoint.spec.rollout.startup_seconds if self.endpoint else 1800

    @property
    def all_ready(self) -> bool:
        return self.n_ready >= self.n_wanted and len(self.pods) <= self.n_ready


def is_terminating(document: Document) -> bool:
    return bool(get_str(document, "metadata", "deletionTimestamp"))


def has_ended(pod: Document) -> bool:
    return get_str(pod, "status", "phase") in ENDED_PHASES


def _service_of(endpoint_slice: Document) -> str:
    return get_str(endpoint_slice, "metadata", "labels", "kubernetes.io/service-name")


def is_ready(pod: Document) -> bool:
    return get_str(condition_of(pod, "Ready"), "status") == "True"


def settings_hash(pod_or_template: Document) -> str:
    return get_str(pod_or_template, "metadata", "annotations", names.SETTINGS_HASH_ANNOTATION)


def node_of(pod: Document) -> str:
    """The node that a pod is bound to; empty: none yet."""
    return get_str(pod, "spec", "nodeName")


def pod_name(pod: Document) -> str:
    return str(pod["metadata"]["name"])


def parse_time(text: str) -> datetime | None:
    """Parses a Kubernetes time; None if there is none."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None

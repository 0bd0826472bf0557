"""The state of the cluster for one reconciliation of an endpoint: `reconcile` gathers it, `status` judges it.

Data only: documents as the API server returned them, from the watches and from single reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum

from whisper_operator.resource.fields import Document
from whisper_operator.resource.required_secrets import RequiredSecret


@dataclasses.dataclass(frozen=True, order=True)
class ChildKey:
    """A child within its endpoint's namespace."""

    kind: str
    name: str


class Presence(Enum):
    """Whether an object exists."""

    PRESENT = "present"
    MISSING = "missing"
    UNKNOWN = "unknown"
    """The operator may not read it (rbac.readSecrets=false), or the API server did not answer."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SecretLookup:
    """A Secret that the spec names. Its content is never stored, only the names of its keys."""

    presence: Presence
    keys: frozenset[str] = frozenset()
    empty: frozenset[str] = frozenset()
    """Keys without a value."""
    type: str = ""

    @property
    def keys_with_value(self) -> frozenset[str]:
        return self.keys - self.empty

    def satisfies(self, required: RequiredSecret) -> bool:
        """Whether nothing is missing. A Secret that the operator may not read counts as complete: the node will report it."""
        if self.presence is not Presence.PRESENT:
            return self.presence is Presence.UNKNOWN
        if required.any_key and not self.keys_with_value:
            return False
        return not self.absent_keys(required) and not self.empty_keys(required)

    def absent_keys(self, required: RequiredSecret) -> list[str]:
        return [key for key in required.keys if key not in self.keys]

    def empty_keys(self, required: RequiredSecret) -> list[str]:
        """Keys that have no value but need one."""
        return [key for key in required.keys if key in self.empty and not required.may_be_empty]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refusal:
    """A child that could not be applied: the API server's answer, or why the operator did not try."""

    key: ChildKey
    code: int
    """HTTP status: 403 quota or missing right, 409 conflict, 422 invalid; 0: the operator did not send it."""
    reason: str
    """Kubernetes' reason (Forbidden, Invalid, AlreadyExists …), or NameTaken: an object of that name is not ours."""
    message: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeOffer:
    """A node with extended resources, such as GPUs."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Document, ...] = ()
    is_cordoned: bool = False
    extended: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Allocatable devices by resource name; it does not say how many are free."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageHold:
    """An endpoint that keeps an earlier default image until its turn comes."""

    kept: str
    wanted: str
    stopped_by: str = ""
    """`namespace/name` of the endpoint that is not ready with the new image; empty: the rollout goes on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreloadState:
    """A Job that fills the cache's volume, for which pods wait."""

    pods: tuple[Document, ...] = ()
    """Of the Job, oldest first."""
    fetched_bytes: int = 0
    total_bytes: int = 0
    """As the log of its pod says; 0: it says nothing yet, or the operator may not read it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FieldConflict:
    """A child that another client keeps changing, and the operator keeps putting back."""

    key: ChildKey
    fields: tuple[str, ...] = ()
    """Empty: the child is deleted again and again."""
    managers: tuple[str, ...] = ()
    """Field managers of these fields, as `metadata.managedFields` names them."""
    autoscalers: tuple[str, ...] = ()
    """HorizontalPodAutoscalers that scale the Deployment, apart from the endpoint's own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClusterSnapshot:
    """Everything that the status is computed from, except the endpoint itself."""

    children: Mapping[ChildKey, Document] = dataclasses.field(default_factory=dict)
    """Children owned by this endpoint (by uid), by kind and name, without pods."""
    pods: tuple[Document, ...] = ()
    """Pods of this endpoint, oldest first."""
    slices: tuple[Document, ...] | None = None
    """EndpointSlices of the Service: the pods that it sends requests to. None: not watched."""
    secrets: Mapping[str, SecretLookup] = dataclasses.field(default_factory=dict)
    """By name, one for each Secret that the spec names."""
    existing_claim: Document | None = None
    """`cache.existingClaim`, if it exists."""
    ingress_class: Document | None = None
    """The IngressClass of `exposure.ingress`: by name, or the cluster's default."""
    served_kinds: frozenset[str] = frozenset()
    """Optional kinds that the cluster serves: HTTPRoute, PodMonitor, ScaledObject."""
    pod_events: Mapping[str, tuple[Document, ...]] = dataclasses.field(default_factory=dict)
    """Warning events by pod name, newest first; read only for pods whose status gives no reason (FailedMount)."""
    claim_events: tuple[Document, ...] = ()
    """Events of the cache's claim, including Normal ones, newest first; read only while it is Pending (the provisioner's reason)."""
    nodes: tuple[NodeOffer, ...] | None = None
    """Nodes with extended resources; read only for pods that got no node. None: not read, or the operator may not."""
    route_owner: str = ""
    """`namespace/name` of the older endpoint that owns this class, host and path; empty: none."""
    image_hold: ImageHold | None = None
    preload: PreloadState | None = None
    """None: pods wait for no preload."""
    refusals: tuple[Refusal, ...] = ()
    """Children that the last apply could not write."""
    conflicts: tuple[FieldConflict, ...] = ()
    """By child."""

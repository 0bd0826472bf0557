"""What was seen of the cluster when an endpoint was reconciled: data that `status` judges and `reconcile` gathers.

No API calls here and no judgement: documents as they came, and what had to be looked up beside the watches.
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
    """Whether an object is there."""

    PRESENT = "present"
    MISSING = "missing"
    UNKNOWN = "unknown"
    """The operator may not look (rbac.readSecrets=false), or the API server did not answer."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SecretLookup:
    """A Secret that the spec names. Its content is never kept: only the names of its keys."""

    found: Found
    keys: frozenset[str] = frozenset()
    empty: frozenset[str] = frozenset()
    """Those of them without a value."""
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
    """A child that could not be applied: what the API server said, or why it was not asked."""

    key: ChildKey
    code: int
    """HTTP status: 403 quota or right, 409 conflict, 422 invalid; 0: the operator refused by itself."""
    reason: str
    """Kubernetes' word (Forbidden, Invalid, AlreadyExists …), or NameTaken: an object of that name is not ours."""
    message: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClusterSnapshot:
    """All that status is made from, besides the endpoint itself."""

    children: Mapping[ChildKey, Document] = dataclasses.field(default_factory=dict)
    """Owned by this endpoint (by uid), by kind and name. Pods are apart."""
    pods: tuple[Document, ...] = ()
    """Of this endpoint, oldest first."""
    secrets: Mapping[str, SecretLookup] = dataclasses.field(default_factory=dict)
    """By name, for each Secret that the spec names."""
    existing_claim: Document | None = None
    """`cache.existingClaim`, if it is there."""
    ingress_class: Document | None = None
    """The IngressClass that `exposure.ingress` means: by name, or the cluster's default."""
    served_kinds: frozenset[str] = frozenset()
    """Optional kinds that the cluster serves: HTTPRoute, PodMonitor."""
    pod_events: Mapping[str, tuple[Document, ...]] = dataclasses.field(default_factory=dict)
    """Warning events by pod name, newest first; looked up only for pods whose status says nothing (FailedMount)."""
    claim_events: tuple[Document, ...] = ()
    """Events of the cache's claim, Normal ones too, newest first; looked up only while it is Pending (storage class's reason)."""
    route_owner: str = ""
    """`namespace/name` of an older endpoint that already has this class, host and path; empty: none."""
    refusals: tuple[Refusal, ...] = ()
    """What the last apply could not bring about."""

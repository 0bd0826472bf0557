"""A situation: a spec, a snapshot, and the expected conditions. The list is in `situations`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from operator_kit import live_objects as live
from operator_kit import live_pods
from operator_kit.judgements import snapshot_of
from whisper_operator.errors import SpecError
from whisper_operator.snapshot import ChildKey, ClusterSnapshot, Presence, Refusal, SecretLookup

GPU = {"gpu": {"class": "t4"}}
CPU = {"gpu": {"class": "none"}}
OWN_CLAIM = {"cache": {"persistentVolumeClaim": {"size": "10Gi"}}}
OTHERS_CLAIM = {"cache": {"existingClaim": "models"}}
INGRESS = {"exposure": {"ingress": {"className": "contour", "host": "speech.example.com"}}}
DEFAULT_INGRESS = {"exposure": {"ingress": {"host": "speech.example.com"}}}
TLS_INGRESS = {
    "exposure": {"ingress": {"className": "contour", "host": "speech.example.com", "tls": {"secretName": "cert"}}}
}
GATEWAY = {"exposure": {"gateway": {"parentRefs": [{"name": "web"}]}}}
SCALED = {"autoscaling": {"maxReplicas": 4, "metric": "cpu", "target": 80}}
KEYS = {"access": {"apiKeysSecretRef": {"name": "clients"}}}
TOKEN = {"model": {"tokenSecretRef": {"name": "hub", "key": "token"}}}

FULL = (
    "0/13 nodes are available: 1 Insufficient nvidia.com/gpu, 12 node(s) didn't match Pod's node affinity/selector. "
    "preemption: 0/13 nodes are available: 1 No preemption victims found for incoming pod, 12 Preemption is not helpful."
)
NONE_OF_CLASS = (
    "0/13 nodes are available: 1 node(s) had untolerated taint(s), 12 node(s) didn't match Pod's node affinity/selector. "
    "no new claims to deallocate, preemption: 0/13 nodes are available: 13 Preemption is not helpful for scheduling."
)
QUOTA = 'pods "speech-5c9-x7k2p" is forbidden: exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2'
PULL = (
    'failed to pull and unpack image "registry.example.com/whisper-server:1": failed to resolve reference '
    '"registry.example.com/whisper-server:1": registry.example.com/whisper-server:1: not found'
)

OK = {
    "Ready": "True Ready",
    "Available": "True Available",
    "Progressing": "True RolledOut",
    "Scheduled": "True Scheduled",
    "Valid": "True Valid",
}
OFF = ("True Suspended", "True ScaledToZero")


@dataclasses.dataclass(frozen=True)
class Situation:
    """A spec and a snapshot; `differs` lists the conditions that differ from a healthy endpoint."""

    spec: Mapping[str, Any]
    snapshot: ClusterSnapshot
    differs: Mapping[str, str]
    problem: SpecError | None = None
    parsed: bool = True

    @property
    def expected(self) -> dict[str, str]:
        found = {**OK, **self.differs}
        # RolledOut repeats the reason of Valid or Progressing, and is True at the end of a rollout only.
        valid, progressing = found["Valid"], found["Progressing"]
        if not valid.startswith("True"):
            return {"RolledOut": valid, **found}
        is_done = progressing == "True RolledOut" or progressing in OFF
        return {"RolledOut": progressing if is_done else progressing.replace("True ", "False "), **found}


def stuck(reason: str, **more: str) -> dict[str, str]:
    """Nothing serves, and the issue needs a fix."""
    return {
        "Ready": f"False {reason}",
        "Available": f"False {reason}",
        "Progressing": f"False {reason}",
        **more,
    }


def coming(reason: str, **more: str) -> dict[str, str]:
    """Nothing serves yet, but nothing is wrong."""
    return {**stuck(reason), "Progressing": f"True {reason}", **more}


def held_back(reason: str, **more: str) -> dict[str, str]:
    """It serves, but not as it should."""
    return {"Ready": f"False {reason}", **more}


def one_pod(state: live.Document, **more: Any) -> ClusterSnapshot:
    return snapshot_of(live.deployment(), pods=[live_pods.pod(state=state)], **more)


def being_made(*events: live.Document, has_sandbox: bool = False) -> ClusterSnapshot:
    pod = live_pods.pod(state=CREATING, has_sandbox=has_sandbox)
    return snapshot_of(live.deployment(), pods=[pod], pod_events={pod["metadata"]["name"]: events})


def serving(*children: live.Document, **more: Any) -> ClusterSnapshot:
    return snapshot_of(live.deployment(ready=1), *children, pods=[live_pods.pod()], **more)


def no_node(words: str) -> ClusterSnapshot:
    return snapshot_of(live.deployment(), pods=[live_pods.unscheduled(words)])


def refused(kind: str, name: str, code: int, reason: str, message: str) -> Refusal:
    return Refusal(key=ChildKey(kind, name), code=code, reason=reason, message=message)


MISSING = SecretLookup(presence=Presence.MISSING)
CLASS = {"ingress_class": live.ingress_class("contour")}
ROUTES = {"served_kinds": frozenset({"HTTPRoute"})}
NO_POD = {"Scheduled": "Unknown NoPods"}
CREATING = live_pods.waiting("ContainerCreating")

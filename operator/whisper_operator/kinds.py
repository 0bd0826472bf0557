"""The kinds of Kubernetes objects that the operator reads and writes, and their URL paths. Data only.

The chart's RBAC lists the same kinds: `CHILDREN` are watched and written, `OBSERVED` are watched,
`LOOKED_UP` are read one by one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from urllib.parse import quote

from whisper_operator import names


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind: its apiVersion and kind, and its URL paths."""

    api_version: str
    kind: str
    plural: str

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        return self.api_version.rpartition("/")[2]

    @property
    def group_path(self) -> str:
        """Discovery path of its group and version."""
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Path of one object, of all objects in a namespace, or of all objects."""
        parts = [self.group_path, f"namespaces/{quote(namespace)}" if namespace else "", self.plural]
        return "/".join(part for part in [*parts, quote(name), subresource] if part)


ENDPOINT = Kind(names.API_VERSION, names.KIND, names.PLURAL)
POD = Kind("v1", "Pod", "pods")
ENDPOINT_SLICE = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
SECRET = Kind("v1", "Secret", "secrets")
ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
CORE_EVENT = Kind("v1", "Event", "events")
EVENT = Kind("events.k8s.io/v1", "Event", "events")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
NODE = Kind("v1", "Node", "nodes")
INGRESS = Kind("networking.k8s.io/v1", "Ingress", "ingresses")
INGRESS_CLASS = Kind("networking.k8s.io/v1", "IngressClass", "ingressclasses")
HTTP_ROUTE = Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes")
GATEWAY = Kind("gateway.networking.k8s.io/v1", "Gateway", "gateways")
POD_MONITOR = Kind("monitoring.coreos.com/v1", "PodMonitor", "podmonitors")
SCALED_OBJECT = Kind("keda.sh/v1alpha1", "ScaledObject", "scaledobjects")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")

AUTOSCALER = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
JOB = Kind("batch/v1", "Job", "jobs")
CLAIM_TEMPLATE = Kind("resource.k8s.io/v1", "ResourceClaimTemplate", "resourceclaimtemplates")

CHILDREN = (
    ACCOUNT,
    CLAIM,
    Kind("v1", "Service", "services"),
    DEPLOYMENT,
    JOB,
    Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    AUTOSCALER,
    Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    INGRESS,
    HTTP_ROUTE,
    POD_MONITOR,
    CLAIM_TEMPLATE,
    SCALED_OBJECT,
)
"""What an endpoint consists of, except its pods, which belong to its Deployment."""
OBSERVED = (POD, ENDPOINT_SLICE)
"""Made by Kubernetes from children, with their labels: watched, never written."""
OPTIONAL = (HTTP_ROUTE, POD_MONITOR, CLAIM_TEMPLATE, SCALED_OBJECT)
"""Child kinds that a cluster may lack."""
LOOKED_UP = (SECRET, CLAIM, INGRESS_CLASS, CORE_EVENT, NODE, GATEWAY)

_KNOWN: Mapping[tuple[str, str], Kind] = {
    (kind.api_version, kind.kind): kind for kind in (ENDPOINT, EVENT, LEASE, *CHILDREN, *OBSERVED, *LOOKED_UP)
}


def kind_of(api_version: str, kind: str) -> Kind:
    """KeyError for kinds that the operator does not handle."""
    return _KNOWN[api_version, kind]

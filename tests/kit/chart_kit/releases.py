"""Releases of the charts on a test cluster: installed, upgraded, uninstalled, and what of them is left."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chart_kit.charts import OPERATOR, Document
from cluster_kit.cluster import Cluster
from whisper_operator.names import CRD_NAME

NOT_LISTED = {"events", "events.events.k8s.io", "componentstatuses", "bindings"}


@dataclass(frozen=True)
class Release:
    """A release by name. Its account is the one that the operator runs under."""

    cluster: Cluster
    namespace: str
    name: str = "wo"
    chart: Path = OPERATOR

    @property
    def fullname(self) -> str:
        return f"{self.name}-whisper-operator"

    def install(self, values: Mapping[str, Any] | None = None, *flags: str) -> str:
        """What Helm prints."""
        return self._with_values("install", values, flags)

    def upgrade(self, values: Mapping[str, Any] | None = None, *flags: str) -> str:
        return self._with_values("upgrade", values, flags)

    def uninstall(self) -> str:
        return self.cluster.helm(
            "uninstall", self.name, f"--namespace={self.namespace}", "--wait", "--ignore-not-found"
        )

    def documents(self) -> list[Document]:
        """All objects of this release that are in the cluster, by their label."""
        return labelled(self.cluster, f"app.kubernetes.io/instance={self.name},app.kubernetes.io/managed-by=Helm")

    def _with_values(self, verb: str, values: Mapping[str, Any] | None, flags: tuple[str, ...]) -> str:
        command = [verb, self.name, str(self.chart), f"--namespace={self.namespace}", "--values=-", *flags]
        return self.cluster.helm(*command, stdin=json.dumps(values or {}))


@contextmanager
def released(
    cluster: Cluster, namespace: str, values: Mapping[str, Any] | None = None, *, name: str = "wo"
) -> Iterator[Release]:
    """The operator's chart, and neither it nor the CRD afterwards."""
    release = Release(cluster, namespace, name)
    try:
        release.install(values)
        wait_for_crd(cluster)
        yield release
    finally:
        release.uninstall()
        cluster.delete("crd", CRD_NAME)


def wait_for_crd(cluster: Cluster) -> None:
    """Until it is served, to kubectl too."""
    cluster.kubectl("wait", f"crd/{CRD_NAME}", "--for=condition=Established", "--timeout=60s")
    cluster.wait(lambda: cluster.kubectl("explain", "wep.spec.gpu"), 60, "the API server has the schema")


def labelled(cluster: Cluster, selector: str) -> list[Document]:
    """Whatever carries these labels, of whatever kind, anywhere."""
    listed = cluster.kubectl("api-resources", "--verbs=list", "--output=name").split()
    kinds = ",".join(sorted(set(listed) - NOT_LISTED))
    found: list[Document] = json.loads(
        cluster.kubectl("get", kinds, "--all-namespaces", f"--selector={selector}", "--ignore-not-found", "-ojson")
        or '{"items": []}'
    )["items"]
    return found


def may(cluster: Cluster, user: str, verb: str, resource: str, *, namespace: str = "", name: str = "") -> bool:
    """Whether the API server would let this user."""
    group_resource, _, subresource = resource.partition("/")
    plural, _, group = group_resource.partition(".")
    attributes = {
        "verb": verb,
        "resource": plural,
        "group": group,
        "subresource": subresource,
        "namespace": namespace,
        "name": name,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user,
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "resourceAttributes": {key: value for key, value in attributes.items() if value},
        },
    }
    answer = json.loads(cluster.kubectl("create", "-f-", "-ojson", stdin=json.dumps(review)))
    return bool(answer["status"]["allowed"])

"""Releases of the charts on a test cluster: installed, upgraded, uninstalled, and what of them is left."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chart_kit.charts import OPERATOR, Document
from cluster_kit.cluster import Cluster
from operator_kit.installed_crd import BY_TESTS, crd_managers, wait_for_crd
from whisper_operator.names import CRD_NAME

Question = tuple[str, ...]
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
    needs_no_crd(cluster)
    release = Release(cluster, namespace, name)
    try:
        release.install(values)
        wait_for_crd(cluster)
        yield release
    finally:
        release.uninstall()
        delete_crd(cluster)


def needs_no_crd(cluster: Cluster) -> None:
    """Deletes one that another module left. Skips the test on a cluster that somebody uses: their endpoints would go."""
    managers = crd_managers(cluster)
    if BY_TESTS in managers:
        delete_crd(cluster)
    elif managers:
        pytest.skip("the cluster has the CRD already: what installs and deletes it is not tried there")


def delete_crd(cluster: Cluster) -> None:
    """And wait until it is gone: `kubectl delete --wait` once missed the end and waited for two minutes."""
    cluster.delete("crd", CRD_NAME, wait=False)
    cluster.wait(lambda: not crd_managers(cluster), 120, "the CRD is gone")


def labelled(cluster: Cluster, selector: str) -> list[Document]:
    """Whatever carries these labels, of whatever kind, anywhere."""
    listed = cluster.kubectl("api-resources", "--verbs=list", "--output=name").split()
    kinds = ",".join(sorted(set(listed) - NOT_LISTED))
    found: list[Document] = json.loads(
        cluster.kubectl("get", kinds, "--all-namespaces", f"--selector={selector}", "--ignore-not-found", "-ojson")
        or '{"items": []}'
    )["items"]
    return found


def allowed(cluster: Cluster, user: str, questions: Iterable[Question], namespace: str) -> set[Question]:
    """Which of these the API server would let this user do. A question is (verb, resource) or (verb, resource, name)."""
    asked = list(questions)
    reviews = [_review(user, namespace, *question) for question in asked]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": reviews})
    answers = cluster.kubectl("create", "-f-", '-ojsonpath={.status.allowed}{"\\n"}', stdin=text).split()
    return {question for question, answer in zip(asked, answers, strict=True) if answer == "true"}


def _review(user: str, namespace: str, verb: str, resource: str, name: str = "") -> Document:
    group_resource, _, below = resource.partition("/")
    plural, _, group = group_resource.partition(".")
    about = {
        "verb": verb,
        "resource": plural,
        "group": group,
        "subresource": below,
        "namespace": namespace,
        "name": name,
    }
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user,
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "resourceAttributes": {key: value for key, value in about.items() if value},
        },
    }

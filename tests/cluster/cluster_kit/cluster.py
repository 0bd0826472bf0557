"""A running cluster, as tests see it: kubectl, helm, users with tokens, nodes that come and go, and faults.

cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", …})
cluster.wait(lambda: cluster.get("deployment", "web", namespace)["status"].get("readyReplicas"), 30, "web is ready")
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import psutil

from cluster_kit import audit, certificates, lifecycle, processes, tools
from cluster_kit.api_client import ApiClient, RequestFailed
from cluster_kit.audit import Request
from cluster_kit.layout import Layout, load
from cluster_kit.real_node.node import RealNode
from suite_kit.slow import SLOW

Document = dict[str, Any]
"""A Kubernetes object."""


T = TypeVar("T")
P = ParamSpec("P")
APISERVER = "kube-apiserver"
GONE_LIMIT_S = 120
"""For what is deleted, with finalizers that somebody has to take off."""


class NotOwn(Exception):
    """What is asked takes a cluster that was brought up by this kit."""


class CommandFailed(Exception):
    """The API server, kubectl or helm refused; the message is what it said."""


@dataclass(frozen=True)
class Figures:
    """What a component uses."""

    rss_bytes: int
    cpu_s: float


@dataclass(frozen=True)
class Cluster:
    """A handle: any number may mean one cluster, from any thread. What does not start kubectl or helm keeps a connection."""

    kubeconfig: Path
    server: str
    folder: Path
    """Takes the caches of kubectl and helm, and kubeconfigs of users."""
    layout: Layout | None = None
    """None for a cluster that is somebody else's: its components cannot be stopped."""

    def kubectl(self, *arguments: str, stdin: str | None = None, limit_s: float = 120, again_if: str = "") -> str:
        """What it prints. A command that says `again_if` is tried three times. Raises CommandFailed with what it says."""
        for _ in range(2 if again_if else 0):
            try:
                return self._run("kubectl", arguments, stdin, limit_s)
            except CommandFailed as failed:
                if again_if not in str(failed):
                    raise
        return self._run("kubectl", arguments, stdin, limit_s)

    def helm(self, *arguments: str, stdin: str | None = None, limit_s: float = 300) -> str:
        return self._run("helm", arguments, stdin, limit_s)

    def apply(self, *documents: Document, manager: str = "test") -> None:
        """Server-side, taking fields over from others. All are tried, whatever becomes of the first."""
        refused = []
        for document in documents:
            try:
                self._client.apply(document, manager)
            except RequestFailed as failed:
                refused.append(str(failed))
        if refused:
            raise CommandFailed("\n".join(refused))

    def get(self, kind: str, name: str, namespace: str = "default") -> Document:
        """Raises CommandFailed where it is not there."""
        return self._answered(self._client.get, kind, name, namespace)

    def find(self, kind: str, namespace: str | None = None, selector: str = "") -> list[Document]:
        """All of a kind, in one namespace or in all."""
        return self._answered(self._client.find, kind, namespace, selector)

    def delete(self, kind: str, *names: str, namespace: str = "default", wait: bool = True) -> None:
        """What is not there is no error."""
        there = {name: self._answered(self._client.uid, kind, name, namespace) for name in names}
        for name in names:
            self._answered(self._client.delete, kind, name, namespace)
        if wait:
            for name, uid in there.items():
                gone = partial(self._is_gone, kind, name, namespace, uid)
                self.wait(gone, GONE_LIMIT_S, f"{kind} {name} is gone")

    def remove_pods(self, namespace: str, name: str = "") -> None:
        """As from a machine that is lost: at once. Without a name, all of the namespace."""
        self._answered(self._client.delete, "pods", name, namespace, 0)

    def managers(self, kind: str, name: str, namespace: str = "default") -> set[str]:
        """The field managers of an object; none where it is not there."""
        return self._answered(self._client.managers, kind, name, namespace)

    def replace(self, document: Document) -> None:
        """All of it. kubectl reads its version first, and others may write in between. Raises CommandFailed."""
        self.kubectl("replace", "-f-", stdin=json.dumps(document), again_if="(Conflict)")

    def annotate_pods(self, namespace: str, selector: str = "", **annotations: str) -> None:
        """Change annotations of live pods; keys are those of `simulated_pods`, such as stage="ready".

        A pod of an ended rollout may go between kubectl's list and its patch: then the pods are listed again.
        """
        pairs = [f"test.whisper-operator.io/{key.replace('_', '-')}={value}" for key, value in annotations.items()]
        which = [f"--selector={selector}"] if selector else ["--all"]
        command = ("annotate", "pods", *which, f"--namespace={namespace}", "--overwrite", *pairs)
        self.kubectl(*command, again_if="(NotFound): pods")

    def user_kubeconfig(self, account: str, namespace: str, *, duration: str = "4h") -> Path:
        """A kubeconfig for a ServiceAccount: what it may do is what its roles say."""
        token = self.kubectl("create", "token", account, f"--namespace={namespace}", f"--duration={duration}").strip()
        mine = json.loads(self.kubectl("config", "view", "--raw", "--minify", "--flatten", "-ojson"))["clusters"][0]
        path = self.folder / f"{namespace}.{account}.kubeconfig"
        authority = mine["cluster"].get("certificate-authority-data", "")
        certificates.write_kubeconfig(
            path, server=self.server, authority=authority, user={"token": token}, namespace=namespace
        )
        return path

    def as_account(self, account: str, namespace: str) -> Cluster:
        """The same cluster, asked by a ServiceAccount."""
        return replace(self, kubeconfig=self.user_kubeconfig(account, namespace))

    def wait(self, predicate: Callable[[], T | None], limit_s: float, what: str, *, every_s: float = 0.1) -> T:
        """The predicate's first true answer. A command that fails is an answer that is not true yet.

        The limit is for a machine that does little else: SLOW in the environment makes it so many times longer.
        """
        limit_s *= SLOW
        deadline_s = time.monotonic() + limit_s
        last: object = None
        while True:
            try:
                answer = predicate()
            except CommandFailed as failed:
                last = failed
            else:
                if answer:
                    return answer
                last = answer
            if time.monotonic() > deadline_s:
                raise AssertionError(f"not after {limit_s:g} s: {what}; the last answer was {last!r}")
            time.sleep(every_s)

    def stop(self, component: str = APISERVER, *, number: int = signal.SIGTERM) -> None:
        """End a component; whoever asks the apiserver meanwhile is refused the connection."""
        lifecycle.stop_component(self.own(), component, number=number)

    def start(self, component: str = APISERVER) -> None:
        lifecycle.start_component(self.own(), component)
        if component == APISERVER:
            lifecycle.wait_for_apiserver(self.own())

    def restart_apiserver(self, *, number: int = signal.SIGTERM) -> None:
        self.stop(number=number)
        self.start()

    def figures(self) -> dict[str, Figures]:
        """Of each component that runs."""
        known = lifecycle.names(self.own())
        found = {}
        for name, process in processes.recorded(self.own().processes).items():
            if name in known and process.alive:
                asked = psutil.Process(process.pid)
                times = asked.cpu_times()
                found[name] = Figures(asked.memory_info().rss, times.user + times.system)
        return found

    def _is_gone(self, kind: str, name: str, namespace: str, uid: str) -> bool:
        """Or another is there by its name."""
        return not uid or self._answered(self._client.uid, kind, name, namespace) != uid

    @staticmethod
    def _answered(ask: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        try:
            return ask(*arguments, **named)
        except RequestFailed as failed:
            raise CommandFailed(str(failed)) from None

    @cached_property
    def _client(self) -> ApiClient:
        return ApiClient(self.kubeconfig)

    @property
    def node(self) -> RealNode | None:
        """The real node; None where nodes are simulated, or the cluster is somebody else's."""
        return RealNode(self.layout) if self.layout is not None and self.layout.is_real else None

    def requests(self, account: str, namespace: str) -> list[Request]:
        """All that this ServiceAccount has asked of the apiserver so far, the oldest first."""
        return audit.requests(self.own().audit_log, f"system:serviceaccount:{namespace}:{account}")

    def own(self) -> Layout:
        if self.layout is None:
            raise NotOwn(f"{self.kubeconfig} is of a cluster that was not started here: its components are not ours")
        return self.layout

    def _run(self, tool: str, arguments: Iterable[str], stdin: str | None, limit_s: float) -> str:
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.folder),  # helm's and kubectl's caches go away with the cluster
            "KUBECONFIG": str(self.kubeconfig),
            "GOGC": "400",  # fewer garbage collections: memory for processor time
        }
        command = [str(tools.path(tool)), *arguments]
        done = subprocess.run(
            command, env=environment, input=stdin, capture_output=True, text=True, check=False, timeout=limit_s
        )
        if done.returncode != 0:
            raise CommandFailed(f"{tool} {' '.join(command[1:4])} …: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout


def cluster_in(folder: Path) -> Cluster | None:
    """The cluster that was brought up in this folder; None where there is none."""
    layout = load(folder)
    return None if layout is None else Cluster(layout.kubeconfig, layout.server, folder, layout)


def cluster_of(kubeconfig: Path, scratch: Path) -> Cluster:
    """The cluster of a kubeconfig, with its components where it is one of ours. `scratch` takes files if it is not."""
    ours = cluster_in(kubeconfig.parent)
    if ours is not None and ours.kubeconfig == kubeconfig:
        return ours
    other = Cluster(kubeconfig, "", scratch)
    servers = other.kubectl("config", "view", "--minify", "-ojsonpath={.clusters[0].cluster.server}")
    return Cluster(kubeconfig, servers, scratch)

"""Every field of every child is edited by hand, and one reconcile puts all of it back, or a condition names it.

The edits are generated from the documents that the operator writes. `make test` takes a sample of them.
"""

from __future__ import annotations

import asyncio
import difflib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from chart_kit.other_kinds import other_kinds
from cluster_kit.cluster import Cluster
from cluster_kit.simulated_pods import SLOW_START, STAGE
from operator_kit.endpoints import make_endpoint
from operator_kit.generated_edits import Edit, batches, edits_of
from operator_kit.live_reconciler import Document, LiveReconciler, live_reconciler, steady
from whisper_operator.reconcile.store import Key

SERVED = frozenset({"HTTPRoute", "PodMonitor"})
SIZES = ("1Gi", "2Gi")
ONE_IN = 24
"""In `make test`."""

RICH: dict[str, Any] = {
    "model": {"id": "oci://registry.example/team/whisper:v1", "pullSecretRef": {"name": "pull"}},
    "gpu": {"class": "none"},
    "commonLabels": {"cost-center": "7"},
    "commonAnnotations": {"example.com/team": "speech"},
    "access": {
        "apiKeysSecretRef": {"name": "keys"},
        "networkPolicy": {
            "from": [{"podSelector": {"matchLabels": {"app": "web"}}}],
            "egress": "hub",
            "to": [{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.8/29"]}}],
        },
    },
    "service": {
        "type": "LoadBalancer",
        "annotations": {"example.com/lb": "small"},
        "loadBalancerClass": "example.com/lb",
        "loadBalancerSourceRanges": ["203.0.113.0/24"],
    },
    "exposure": {"ingress": {"className": "contour", "host": "speech.example.com", "tls": {"secretName": "cert"}}},
    "autoscaling": {"minReplicas": 1, "maxReplicas": 3, "metric": "queue", "target": 70},
    "cache": {"persistentVolumeClaim": {"size": "1Gi"}},
    "pod": {
        "env": [{"name": "MINE", "value": "1"}],
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "mine", "operator": "Equal", "value": "1", "effect": "NoSchedule"}],
        "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["hub.example.com"]}],
        "dnsConfig": {"nameservers": ["192.0.2.53"], "options": [{"name": "ndots", "value": "2"}]},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "securityContext": {"runAsUser": 1234, "runAsGroup": 1234},
        "initContainers": [
            {
                "name": "first",
                "image": "registry.test/first:1",
                "command": ["true"],
                "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
            }
        ],
        "sidecars": [{"name": "proxy", "image": "registry.test/proxy:1", "env": [{"name": "LEVEL", "value": "1"}]}],
        "volumes": [{"name": "data", "configMap": {"name": "data"}}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "resources": {"requests": {"cpu": "500m"}, "limits": {"memory": "8Gi"}},
    },
}
GROWN = ("spec", "resources", "requests", "storage")
"""A volume cannot shrink: another test."""
PRELOADING = {
    "model": {"id": "owner/name"},
    "gpu": {"class": "none"},
    "cache": {"existingClaim": "models", "preload": True},
    "access": {"networkPolicy": {"enabled": False}},
    "pod": {"annotations": {STAGE: SLOW_START}},
}
"""There is a Job, which does not end, and no Deployment."""
ROUTED = {"gpu": {"class": "none"}, "exposure": {"gateway": {"parentRefs": [{"name": "entry"}]}}}


@pytest.fixture(scope="module", autouse=True)
def kinds(cluster: Cluster, crd: None) -> Iterator[None]:
    with other_kinds(cluster):
        yield


def test_a_sample_of_edits_is_put_back_at_once(cluster: Cluster, namespace: str) -> None:
    asyncio.run(edit_and_reconcile(cluster, namespace, RICH, one_in=ONE_IN))


@pytest.mark.before_release(because="a sample of the same edits is in make test")
@pytest.mark.parametrize("spec", [RICH, ROUTED, PRELOADING], ids=["rich", "routed", "preloading"])
def test_every_edit_of_every_child_is_put_back_at_once(cluster: Cluster, namespace: str, spec: dict[str, Any]) -> None:
    asyncio.run(edit_and_reconcile(cluster, namespace, spec, one_in=1))


@pytest.mark.before_release(because="a refusal by the API server is reported as others are")
def test_a_claim_that_was_grown_by_hand_is_named_with_the_way_out(cluster: Cluster, namespace: str) -> None:
    asyncio.run(grow_and_reconcile(cluster, namespace))


async def grow_and_reconcile(cluster: Cluster, namespace: str) -> None:
    small, large = ({"gpu": {"class": "none"}, "cache": {"persistentVolumeClaim": {"size": size}}} for size in SIZES)
    cluster.apply(make_endpoint(small, namespace=namespace))
    async with live_reconciler(cluster.kubeconfig, Key(namespace, "speech"), SERVED) as operator:
        await operator.fill()
        await operator.reconcile()
        (claim,) = [one for one in await operator.desired() if one["kind"] == "PersistentVolumeClaim"]
        cluster.wait(lambda: cluster.find("pvc", namespace)[0]["status"].get("phase") == "Bound", 60, "it is bound")
        assert await operator.edit(claim, [(Edit("change", GROWN, ()), SIZES[1])])
        await operator.reconcile()
        said = await condition(operator, "Valid")
        assert said["reason"] == "ChildInvalid"
        assert said["message"].endswith(
            "A volume cannot shrink: write the size that it has by now in cache.persistentVolumeClaim.size, see "
            f"`kubectl get persistentvolumeclaim -n {namespace} speech-cache`."
        )
        cluster.apply(make_endpoint(large, namespace=namespace))
        await operator.reconcile()
        assert (await condition(operator, "Valid"))["status"] == "True"


async def condition(operator: LiveReconciler, type_: str) -> Document:
    conditions = (await operator.endpoint())["status"]["conditions"]
    return next(one for one in conditions if one["type"] == type_)


def test_ready_is_false_until_the_service_has_an_endpoint(cluster: Cluster, namespace: str) -> None:
    asyncio.run(lose_endpoints_and_reconcile(cluster, namespace))


async def lose_endpoints_and_reconcile(cluster: Cluster, namespace: str) -> None:
    def addresses() -> int:
        found = cluster.find("endpointslices", namespace, "kubernetes.io/service-name=speech")
        return sum(len(one["endpoints"] or ()) for one in found)

    cluster.apply(make_endpoint({"gpu": {"class": "none"}}, namespace=namespace))
    async with live_reconciler(cluster.kubeconfig, Key(namespace, "speech"), SERVED) as operator:
        await operator.fill()
        await operator.reconcile()
        cluster.wait(lambda: addresses() == 1, 60, "the Service has an endpoint")
        await until(operator, "True Ready")
        (service,) = [one for one in await operator.desired() if one["kind"] == "Service"]
        assert await operator.edit(service, [(Edit("add", ("spec", "selector", "mine"), ()), "too")])
        cluster.wait(lambda: addresses() == 0, 60, "the Service has no endpoint")
        await operator.reconcile()
        said = await condition(operator, "Ready")
        # The selector is put back by then, and the slices follow.
        assert (said["status"], said["reason"]) == ("False", "NoEndpoints")
        assert said["message"].endswith("1 pod is ready, but no request reaches it.")
        cluster.wait(lambda: addresses() == 1, 60, "the Service has an endpoint again")
        await until(operator, "True Ready")


async def until(operator: LiveReconciler, ready: str) -> None:
    for _ in range(100):
        await operator.reconcile()
        said = await condition(operator, "Ready")
        if f"{said['status']} {said['reason']}" == ready:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"Ready is {said}")


async def edit_and_reconcile(cluster: Cluster, namespace: str, spec: dict[str, Any], *, one_in: int) -> None:
    cluster.apply(make_endpoint(spec, name="speech", namespace=namespace))
    async with live_reconciler(cluster.kubeconfig, Key(namespace, "speech"), SERVED) as operator:
        await operator.fill()
        for _ in range(3):
            await operator.reconcile()
        children = await operator.desired()
        before = {child["kind"]: await operator.live(child) for child in children}
        waiting = {child["kind"]: await plan(operator, child, before[child["kind"]], one_in) for child in children}
        n_edits = sum(len(batch) for each in waiting.values() for batch in each)
        print(f"{n_edits} edits of {len(children)} children in {max(map(len, waiting.values()))} reconciles")
        assert n_edits > 400 / one_in or spec is not RICH
        left: list[str] = []
        while any(waiting.values()):
            done: list[tuple[Document, list[tuple[Edit, Any]]]] = []
            for child in children:
                if waiting[child["kind"]]:
                    batch = waiting[child["kind"]].pop()
                    if await operator.edit(child, batch):
                        done.append((child, batch))
                    elif len(batch) > 1:
                        waiting[child["kind"]] += [batch[::2], batch[1::2]]
            await operator.reconcile()
            left += [text for child, batch in done for text in await not_put_back(operator, child, batch, before)]
        assert not left, "\n".join(left)


async def plan(operator: LiveReconciler, child: Document, live: Document, one_in: int) -> list[list[tuple[Edit, Any]]]:
    """The edits that the API server takes."""
    chosen = [edit for edit in edits_of(live, child) if edit.at != GROWN][::one_in]
    found = [(edit, await operator.accepted(live, edit)) for edit in chosen]
    return batches((edit, value) for edit, value in found if value is not None)


async def not_put_back(
    operator: LiveReconciler, child: Document, batch: list[tuple[Edit, Any]], before: dict[str, Document]
) -> list[str]:
    kind = child["kind"]
    wanted, found = (
        json.dumps(steady(one), indent=1, sort_keys=True).splitlines()
        for one in (before[kind], await operator.live(child))
    )
    if wanted == found:
        return []
    edits = [str(edit) for edit, _ in batch]
    said = (await condition(operator, "Valid"))["message"]
    named = kind in said
    await operator.restore(child, before[kind])
    await operator.reconcile()
    if named:
        print(f"{kind} after {edits}: {said}")
        return []
    left = difflib.unified_diff(wanted, found, n=1, lineterm="")
    return [f"{kind} after {edits}:", *left]

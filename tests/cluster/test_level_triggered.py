"""Whatever happens to the operator, to the API server or to the children: the end state is what the specs say."""

import difflib
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cluster_kit.cluster import Cluster
from operator_kit.end_state import children, end_state, is_current, pods
from operator_kit.endpoints import make_endpoint
from operator_kit.operator_process import OperatorProcess

N_KILLS = int(os.environ.get("WHISPER_KILLS", "20"))
KILLS_A_ROUND = 5
START_S = 2.5
"""A kill comes before the operator has read everything, or at any point of its work."""
CONVERGE_S = 60.0

SPECS: dict[str, dict[str, Any]] = {
    "plain": {"gpu": {"class": "none"}},
    "rich": {
        "gpu": {"class": "none"},
        # An autoscaler that is on its way out would still set `replicas`, were this not what they are anyway.
        "autoscaling": {"minReplicas": 1, "maxReplicas": 4, "metric": "cpu", "target": 70},
        "cache": {"persistentVolumeClaim": {"size": "1Gi"}},
        "exposure": {"ingress": {"className": "contour", "host": "NAME.example.com"}},
    },
}
CLASS = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "IngressClass",
    "metadata": {"name": "contour"},
    "spec": {"controller": "projectcontour.io/contour"},
}


@pytest.fixture(scope="module", autouse=True)
def ingress_class(cluster: Cluster) -> Iterator[None]:
    cluster.apply(CLASS)
    yield
    cluster.delete("ingressclass", "contour")


@pytest.fixture(scope="module")
def expected(cluster: Cluster, operator: OperatorProcess) -> Iterator[dict[str, Any]]:
    """The end state of each spec where nothing goes wrong."""
    namespace = "undisturbed"
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    states = {}
    for kind, spec in SPECS.items():
        cluster.apply(endpoint(f"wep-{kind}", namespace, spec))
    for kind in SPECS:
        name = f"wep-{kind}"
        cluster.wait(
            lambda name=name: is_current(cluster.get("wep", name, namespace)), CONVERGE_S, f"{name} is current"
        )  # type: ignore[misc]
        states[kind] = end_state(cluster, namespace, name)
    assert {name.split("/")[0] for name in states["rich"]} - {name.split("/")[0] for name in states["plain"]} == {
        "HorizontalPodAutoscaler",
        "Ingress",
        "PersistentVolumeClaim",
    }
    yield states
    cluster.delete("namespace", namespace, wait=False)


def endpoint(name: str, namespace: str, spec: dict[str, Any]) -> dict[str, Any]:
    named = json.loads(json.dumps(spec).replace("NAME", name))
    return make_endpoint(named, name=name, namespace=namespace)


def settle(cluster: Cluster, namespace: str, wanted: dict[str, Any]) -> None:
    """Wait until the namespace holds exactly these end states, by endpoint, and no pod too many."""

    deadline_s = time.monotonic() + CONVERGE_S
    while True:
        found = {name: end_state(cluster, namespace, name) for name in wanted}
        names = {f"{name}: {child}" for name in wanted for child in found[name]}
        n_more = len(children(cluster, namespace)) - len(names)
        if (found == wanted and n_more == 0) or time.monotonic() > deadline_s:
            break
        time.sleep(0.5)
    assert not difference(found, wanted)
    assert n_more == 0
    for name, state in wanted.items():
        replicas = state["Deployment/NAME"]["spec"]["replicas"]
        cluster.wait(lambda name=name: is_current(cluster.get("wep", name, namespace)), CONVERGE_S, f"{name} is ready")  # type: ignore[misc]
        cluster.wait(
            lambda name=name, n=replicas: len(pods(cluster, namespace, name)) == n,
            CONVERGE_S,
            f"{name} has its pods",  # type: ignore[misc]
        )


def test_killed_at_random_points_of_create_update_delete(
    cluster: Cluster, namespace: str, expected: dict[str, Any], operator: OperatorProcess
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    wanted: dict[str, str] = {}
    n_kills, n_round = 0, 0
    while n_kills < N_KILLS:
        n_round += 1
        changes = plan(chance, wanted, n_round)
        for _ in range(KILLS_A_ROUND):
            if changes:
                changes.pop(0)(cluster, namespace)
            time.sleep(chance.uniform(0, START_S))
            operator.kill()
            n_kills += 1
        for change in changes:
            change(cluster, namespace)
        settle(cluster, namespace, {name: expected[kind] for name, kind in wanted.items()})


def difference(found: Any, wanted: Any) -> str:
    texts = [json.dumps(state, indent=1, sort_keys=True).splitlines() for state in (wanted, found)]
    return "\n".join(difflib.unified_diff(*texts, "wanted", "found", n=2))


Change = Callable[[Cluster, str], None]


def plan(chance: random.Random, wanted: dict[str, str], n_round: int) -> list[Change]:
    """Some endpoints are made, some changed, some deleted; `wanted` becomes what there is then."""
    changes: list[Change] = []
    for number in range(3):
        name, kind = f"wep-{n_round}-{number}", chance.choice(sorted(SPECS))
        wanted[name] = kind
        changes.append(
            lambda cluster, namespace, name=name, kind=kind: cluster.apply(endpoint(name, namespace, SPECS[kind]))
        )  # type: ignore[misc]
    older = [name for name in wanted if not name.startswith(f"wep-{n_round}-")]
    for name in chance.sample(older, min(2, len(older))):
        del wanted[name]
        changes.append(
            lambda cluster, namespace, name=name: cluster.delete("wep", name, namespace=namespace, wait=False)
        )  # type: ignore[misc]
    for name in [name for name in wanted if name in older][:2]:
        kind = "plain" if wanted[name] == "rich" else "rich"
        wanted[name] = kind
        changes.append(lambda cluster, namespace, name=name, kind=kind: replace(cluster, name, namespace, SPECS[kind]))  # type: ignore[misc]
    chance.shuffle(changes)
    return changes


def replace(cluster: Cluster, name: str, namespace: str, spec: dict[str, Any]) -> None:
    """What the new spec does not name goes: the fields are one manager's."""
    cluster.apply(endpoint(name, namespace, spec))

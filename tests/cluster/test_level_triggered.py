"""The operator is killed again and again: the end state is what the specs say, nothing doubled, nothing left."""

import difflib
import functools
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cluster_kit.cluster import Cluster
from operator_kit.end_state import children, end_state, wait_for_pods, wait_until_ready
from operator_kit.endpoints import make_endpoint
from operator_kit.operator_process import OperatorProcess

N_KILLS = int(os.environ.get("WHISPER_KILLS", "10"))
"""Two rounds; `make test-all` kills 20 times, `make soak` 200."""
KILLS_A_ROUND = 5
START_S = 2.5
"""A kill comes before the operator has read everything, or at any point of its work."""
CONVERGE_S = 60.0
FROM_KILL_TO_KILL_S = 60.0

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
MORE_OF_RICH = {"HorizontalPodAutoscaler/NAME", "Ingress/NAME", "PersistentVolumeClaim/NAME-cache"}

Change = Callable[[], None]
States = dict[str, dict[str, Any]]


@pytest.fixture(scope="module", autouse=True)
def ingress_class(cluster: Cluster) -> Iterator[None]:
    cluster.apply(CLASS)
    yield
    cluster.delete("ingressclass", "contour")


@pytest.fixture(scope="module")
def expected(cluster: Cluster, operator: OperatorProcess) -> Iterator[States]:
    """The end state of each spec where nothing goes wrong."""
    namespace = "undisturbed"
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    for kind in SPECS:
        apply(cluster, namespace, f"wep-{kind}", kind)
    wait_until_ready(cluster, namespace, *(f"wep-{kind}" for kind in SPECS))
    states = {kind: end_state(cluster, namespace, f"wep-{kind}") for kind in SPECS}
    assert states["rich"].keys() - states["plain"].keys() == MORE_OF_RICH
    yield states
    cluster.delete("namespace", namespace, wait=False)


def apply(cluster: Cluster, namespace: str, name: str, kind: str) -> None:
    """What the new spec does not name goes: the fields are one manager's."""
    spec = json.loads(json.dumps(SPECS[kind]).replace("NAME", name))
    cluster.apply(make_endpoint(spec, name=name, namespace=namespace))


def settle(cluster: Cluster, namespace: str, wanted: States) -> None:
    """Wait until the namespace holds exactly these end states, by endpoint, and no pod too many."""
    deadline_s = time.monotonic() + CONVERGE_S
    while True:
        found = {name: end_state(cluster, namespace, name) for name in wanted}
        n_more = len(children(cluster, namespace)) - sum(len(state) for state in found.values())
        if (found == wanted and n_more == 0) or time.monotonic() > deadline_s:
            break
        time.sleep(0.5)
    assert not difference(found, wanted)
    assert n_more == 0
    wait_until_ready(cluster, namespace, *wanted)
    for name, state in wanted.items():
        wait_for_pods(cluster, namespace, name, state["Deployment/NAME"]["spec"]["replicas"])


def difference(found: States, wanted: States) -> str:
    before, after = (json.dumps(state, indent=1, sort_keys=True).splitlines() for state in (wanted, found))
    return "\n".join(difflib.unified_diff(before, after, "wanted", "found", n=2, lineterm=""))


def plan(chance: random.Random, cluster: Cluster, namespace: str, wanted: dict[str, str], number: int) -> list[Change]:
    """Three endpoints are made, two changed, two deleted; `wanted` becomes what there is then."""
    changes: list[Change] = []
    older = chance.sample(sorted(wanted), len(wanted))
    for name in older[:2]:
        del wanted[name]
        changes.append(functools.partial(cluster.delete, "wep", name, namespace=namespace, wait=False))
    for name in older[2:4]:
        wanted[name] = "plain" if wanted[name] == "rich" else "rich"
        changes.append(functools.partial(apply, cluster, namespace, name, wanted[name]))
    for name in (f"wep-{number}-{letter}" for letter in "abc"):
        wanted[name] = chance.choice(sorted(SPECS))
        changes.append(functools.partial(apply, cluster, namespace, name, wanted[name]))
    chance.shuffle(changes)
    return changes


@pytest.mark.timeout(300 + N_KILLS * FROM_KILL_TO_KILL_S)
def test_killed_at_random_points_of_create_update_delete(
    cluster: Cluster, namespace: str, expected: States, operator: OperatorProcess
) -> None:
    # Where it is run for long it looks for points that it has not met; else a failure can be repeated.
    seed = random.randrange(2**32) if N_KILLS > 20 else 1
    print(f"seed {seed}")
    chance = random.Random(seed)
    wanted: dict[str, str] = {}
    for number in range(-(-N_KILLS // KILLS_A_ROUND)):
        changes = plan(chance, cluster, namespace, wanted, number)
        for _ in range(KILLS_A_ROUND):
            if changes:
                changes.pop(0)()
            time.sleep(chance.uniform(0, START_S))
            operator.kill()
        for change in changes:
            change()
        settle(cluster, namespace, {name: expected[kind] for name, kind in wanted.items()})

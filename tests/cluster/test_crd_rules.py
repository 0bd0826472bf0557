"""Every rule of the CRD, broken once on a real API server; specs at the edge, taken; changes, judged."""

from __future__ import annotations

import json

import pytest

from cluster_kit.cluster import Cluster, CommandFailed
from operator_kit.endpoints import make_endpoint
from operator_kit.installed_crd import refusals
from operator_kit.specs import ACCEPTED, ONE_POD, REFUSED, UPDATES, Update
from whisper_operator.resource.parse import parse_spec

pytestmark = pytest.mark.usefixtures("crd")


def test_every_rule_refuses_with_its_message(cluster: Cluster) -> None:
    cases = {case.name or f"case-{number}": case for number, case in enumerate(REFUSED)}
    said = refusals(cluster, [make_endpoint(case.spec, name=name, namespace="default") for name, case in cases.items()])
    for name, case in cases.items():
        assert said.get(name, "taken").startswith(case.error), case
        assert len(said[name].splitlines()) == 1, said[name]


@pytest.mark.parametrize("name", ACCEPTED)
def test_specs_at_the_edge_are_taken_and_mean_what_they_say(cluster: Cluster, name: str) -> None:
    document = make_endpoint(ACCEPTED[name], name=name, namespace="default")
    answer = cluster.kubectl("create", "--dry-run=server", "-ojson", "-f-", stdin=json.dumps(document))
    assert parse_spec(json.loads(answer)["spec"]) == parse_spec(document["spec"])


@pytest.mark.parametrize("update", UPDATES)
def test_a_claim_changes_only_as_volumes_can(cluster: Cluster, namespace: str, update: Update) -> None:
    cluster.kubectl("create", "-f-", stdin=json.dumps(make_endpoint(update.before, namespace=namespace)))
    after = make_endpoint(update.after, namespace=namespace)
    if not update.error:
        cluster.replace(after)
        return
    with pytest.raises(CommandFailed) as refused:
        cluster.replace(after)
    said = str(refused.value).split(" is invalid: ")[1]
    assert said.startswith(update.error)
    assert len(said.splitlines()) == 1


def test_rules_hold_for_scaling_too(cluster: Cluster, namespace: str) -> None:
    cluster.apply(make_endpoint(ONE_POD, namespace=namespace))
    with pytest.raises(CommandFailed, match="a ReadWriteOncePod volume is for one pod"):
        cluster.kubectl("scale", "wep", "speech", "--replicas=2", f"--namespace={namespace}")
    assert cluster.get("wep", "speech", namespace)["spec"]["replicas"] == 1

"""The author's own containers: sidecars, containers before the server, the user that all run as."""

from __future__ import annotations

from typing import Any

import pytest

from operator_kit.chosen import operator_settings
from operator_kit.endpoints import parsed_endpoint
from operator_kit.judgements import judged, message, snapshot_of
from operator_kit.live_objects import deployment
from operator_kit.live_pods import ended, pod, up, waiting
from whisper_operator.errors import SpecError
from whisper_operator.manifests import make_children
from whisper_operator.resource.required_secrets import pod_secrets

Document = dict[str, Any]
FETCH = {"name": "fetch", "image": "fetch:1", "command": ["fetch"]}
PROXY = {"name": "proxy", "image": "proxy:1", "imagePullPolicy": "Always"}
UNPRIVILEGED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def children(spec: Document, **settings: Any) -> dict[str, Document]:
    made = make_children(
        parsed_endpoint(spec), operator_settings(**settings), served_kinds=frozenset(), ingress_controller=""
    )
    return {child["kind"]: child for child in made}


def pod_spec(of_pod: Document, **settings: Any) -> Document:
    found: Document = children({"pod": of_pod}, **settings)["Deployment"]["spec"]["template"]["spec"]
    return found


def test_sidecars_start_before_other_containers_and_all_are_unprivileged() -> None:
    found = pod_spec({"initContainers": [FETCH], "sidecars": [PROXY]}, defaults={"image_registry": "mirror.example"})
    made = {"securityContext": UNPRIVILEGED, "terminationMessagePolicy": "FallbackToLogsOnError"}
    assert found["initContainers"] == [
        {**PROXY, "image": "mirror.example/proxy:1", "restartPolicy": "Always", **made},
        {**FETCH, "image": "mirror.example/fetch:1", "imagePullPolicy": "IfNotPresent", **made},
    ]
    assert "initContainers" not in pod_spec({})


def test_user_of_the_pods_is_never_root() -> None:
    found = pod_spec({"securityContext": {"runAsUser": 1000, "runAsGroup": 0}, "fsGroup": 7})["securityContext"]
    assert (found["runAsUser"], found["runAsGroup"], found["fsGroup"], found["runAsNonRoot"]) == (1000, 0, 7, True)
    assert not {"runAsUser", "runAsGroup"} & pod_spec({})["securityContext"].keys()


def test_images_of_all_containers_come_from_allowed_registries() -> None:
    with pytest.raises(SpecError, match=r"pod.sidecars\[0\].image"):
        children({"pod": {"sidecars": [PROXY]}}, allowed_image_registries=("registry.example",))


def test_secret_of_a_container_is_required() -> None:
    variable = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "store", "key": "token"}}}
    spec = {"pod": {"initContainers": [{**FETCH, "env": [variable]}]}}
    (found,) = pod_secrets(parsed_endpoint(spec))
    assert (found.field, found.name, found.keys) == ("pod.initContainers[0].env[0]", "store", ("token",))


def test_autoscaler_measures_the_server_alone_where_there_are_sidecars() -> None:
    scaled = {"gpu": {"class": "none"}, "autoscaling": {"maxReplicas": 2, "metric": "cpu", "target": 70}}
    (metric,) = children({**scaled, "pod": {"sidecars": [PROXY]}})["HorizontalPodAutoscaler"]["spec"]["metrics"]
    target = {"type": "Utilization", "averageUtilization": 70}
    assert metric == {
        "type": "ContainerResource",
        "containerResource": {"name": "cpu", "container": "server", "target": target},
    }


def test_peers_are_added_to_what_egress_lets_through() -> None:
    peers = [{"ipBlock": {"cidr": "192.0.2.0/24"}}]
    for egress, n_before in (("none", 0), ("hub", 2)):
        policy = {"access": {"networkPolicy": {"egress": egress, "to": peers}}}
        found = children(policy)["NetworkPolicy"]["spec"]["egress"]
        assert (found[n_before:], len(found)) == ([{"to": peers}], n_before + 1)


def test_message_names_the_field_of_a_container_that_fails_or_still_runs() -> None:
    def said(state: Document, *, restarts: bool) -> str:
        live = pod(ready=False, state=waiting("PodInitializing"))
        one = {**FETCH, **({"restartPolicy": "Always"} if restarts else {})}
        live["spec"]["initContainers"] = [one]
        live["status"]["initContainerStatuses"] = [{**state, "name": "fetch", "ready": False}]
        return message(judged({}, snapshot_of(deployment(), pods=[live])))

    assert "container fetch still runs, and the server starts after its end." in said(up(ready=False), restarts=False)
    assert "container fetch ended with exit code 3." in said(ended(3), restarts=False)
    assert "Check the image of fetch in pod.sidecars." in said(waiting("ImagePullBackOff"), restarts=True)

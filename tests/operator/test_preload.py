"""The Job that fills the cache's volume: what it is, when it is, and how far it is."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from operator_kit.chosen import operator_settings
from operator_kit.endpoints import parsed_endpoint
from operator_kit.memory_cluster import FORBIDDEN
from operator_kit.reconciling import KEY, SETTINGS, Bench
from whisper_operator import names
from whisper_operator.manifests import make_children
from whisper_operator.reconcile.preloads import progress_in

Document = dict[str, Any]
CLAIM = {"persistentVolumeClaim": {"size": "1Gi"}, "preload": True}
SPEC: Document = {"model": {"id": "owner/name"}, "cache": CLAIM}
LINES = '{"message": "a"}\n{"message": "b", "fetched_bytes": 600000000, "total_bytes": 1617000000}\n{"message": "c"}\nnot JSON'


def children(spec: Document, deployed: Document | None = None, jobs: tuple[Document, ...] = ()) -> dict[str, Document]:
    made = make_children(
        parsed_endpoint(spec),
        operator_settings(defaults={"ca_bundle_config_map": "ca", "https_proxy": "http://proxy:3128"}),
        served_kinds=frozenset(),
        ingress_controller="",
        deployed=deployed,
        jobs=jobs,
    )
    return {f"{child['kind']}/{child['metadata']['name']}": child for child in made}


def job_of(spec: Document) -> Document:
    (job,) = [child for name, child in children(spec).items() if name.startswith("Job/")]
    return job


def complete(job: Document) -> Document:
    return {**job, "status": {"conditions": [{"type": "Complete", "status": "True"}]}}


def test_job_is_like_the_pods_but_for_what_serves() -> None:
    own = {
        "imagePullSecrets": [{"name": "pull"}],
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "mine", "operator": "Exists"}],
        "securityContext": {"runAsUser": 1234},
    }
    spec = {**SPEC, "gpu": {"class": "t4"}, "access": {"apiKeysSecretRef": {"name": "keys"}}, "pod": own}
    job = job_of(spec)
    pod, labels = job["spec"]["template"]["spec"], job["spec"]["template"]["metadata"]["labels"]
    done = children(spec, jobs=(complete(job),))
    server = done["Deployment/speech"]["spec"]["template"]["spec"]
    (container,), (theirs,) = pod["containers"], server["containers"]
    same = ("imagePullSecrets", "nodeSelector", "tolerations", "securityContext", "serviceAccountName")
    assert {name: pod[name] for name in same} == {name: server[name] for name in same}
    assert pod["affinity"]["nodeAffinity"] == server["affinity"]["nodeAffinity"]
    assert pod["restartPolicy"] == "OnFailure"
    assert (container["image"], container["args"]) == (theirs["image"], ["fetch"])
    assert container["securityContext"] == theirs["securityContext"]
    env = {one["name"]: one.get("value") for one in container["env"]}
    assert (env["MODEL_ID"], env["HF_HOME"], env["HTTPS_PROXY"]) == (
        "owner/name",
        "/cache/huggingface",
        "http://proxy:3128",
    )
    assert env["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert container["resources"] == {"requests": {"cpu": "250m", "memory": "1Gi"}}  # and no GPU
    assert [one["name"] for one in pod["volumes"]] == ["scratch", "cache", "ca-bundle"]
    assert not {"ports", "readinessProbe", "livenessProbe", "startupProbe"} & set(container)
    assert names.ENDPOINT_LABEL not in labels  # the Service would send it requests


@pytest.mark.parametrize(
    ("model", "offline", "variable", "is_refused"),
    [
        ("owner/name", True, "", True),
        ("owner/name", True, "0", False),
        ("owner/name", False, "yes", True),
        ("owner/name", False, "", False),
        ("https://host/whisper.tar.gz", True, "", False),
    ],
)
async def test_preload_that_the_hub_variable_keeps_from_its_model_is_refused(
    model: str, offline: bool, variable: str, is_refused: bool
) -> None:
    settings = dataclasses.replace(SETTINGS, defaults=dataclasses.replace(SETTINGS.defaults, offline=offline))
    bench = Bench(settings)
    env = [{"name": "HF_HUB_OFFLINE", "value": variable}] if variable else []
    bench.ask({**SPEC, "model": {"id": model}, "pod": {"env": env}})
    await bench.settle()
    told = bench.conditions()["Valid"]
    assert (told["status"], told["reason"]) == (("False", "InvalidSpec") if is_refused else ("True", "Valid"))
    assert ("spec.cache.preload: HF_HUB_OFFLINE=1 keeps the Job from" in told["message"]) is is_refused
    assert any(name.startswith("Job/") for name in bench.children()) is not is_refused


def test_job_is_near_pods_that_hold_the_volume() -> None:
    (preferred,) = job_of(SPEC)["spec"]["template"]["spec"]["affinity"]["podAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    assert preferred["podAffinityTerm"]["labelSelector"] == {"matchLabels": {names.ENDPOINT_LABEL: "speech"}}
    many = {**CLAIM, "persistentVolumeClaim": {"size": "1Gi", "accessModes": ["ReadWriteMany"]}}
    assert "podAffinity" not in job_of({**SPEC, "cache": many})["spec"]["template"]["spec"]["affinity"]


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"model": {"id": "owner/other"}}, True),
        ({"model": {"id": "owner/name", "revision": "v2"}}, True),
        ({"cache": {"existingClaim": "mine", "preload": True}}, True),
        ({"gpu": {"class": "none"}}, True),  # it is converted, too
        ({"replicas": 3}, False),
        ({"pod": {"labels": {"a": "b"}}}, False),
        ({"suspend": True}, False),
        ({"cache": {"persistentVolumeClaim": {"size": "1Gi"}}}, False),
    ],
)
def test_what_preloads_again(change: Document, again: bool) -> None:
    spec = {**SPEC, "gpu": {"class": "t4"}}
    deployed = children(spec, jobs=(complete(job_of(spec)),))["Deployment/speech"]
    assert not [name for name in children(spec, deployed) if "preload" in name]
    found = children({**spec, **change}, deployed)
    assert ("Deployment/speech" not in found) is again
    assert bool([name for name in found if name.startswith("Job/speech-preload-")]) is again
    assert ("NetworkPolicy/speech-preload" in found) is again


async def test_a_deployment_that_is_refused_starts_no_other_job() -> None:
    bench = Bench()
    bench.ask(SPEC)
    await bench.settle()
    (job,) = bench.cluster.all_of("Job")

    def refuse(method: str, kind: str, name: str) -> None:
        if (method, kind) == ("apply", "Deployment"):
            raise FORBIDDEN

    bench.cluster.before = refuse
    bench.cluster.put(complete(job))
    await bench.reconcile()
    await bench.reconcile()
    (kept,) = bench.cluster.all_of("Job")
    assert kept["metadata"]["uid"] == job["metadata"]["uid"]
    bench.cluster.before = lambda method, kind, name: None
    bench.elapsed_s += 100
    await bench.settle()
    assert not bench.cluster.all_of("Job")
    assert bench.cluster.all_of("Deployment")


def test_a_job_with_another_template_has_another_name_and_a_name_that_fits() -> None:
    long = parsed_endpoint(SPEC).name
    first, second = job_of(SPEC), job_of({**SPEC, "pod": {"nodeSelector": {"a": "b"}}})
    assert first["metadata"]["name"] != second["metadata"]["name"]
    assert len(first["metadata"]["name"]) == len(long) + len("-preload-") + 8 <= 63 - 40 + len(long)


def running_pod(job: Document) -> Document:
    template = job["spec"]["template"]
    metadata = {**template["metadata"], "name": "speech-preload-x", "namespace": KEY.namespace}
    statuses = [{"name": "server", "ready": True, "started": True, "state": {"running": {}}}]
    status = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": statuses,
    }
    spec = {**template["spec"], "nodeName": "node"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


async def test_progress_is_in_the_status_and_is_looked_at_again() -> None:
    bench = Bench()
    bench.ask(SPEC)
    await bench.settle()
    (job,), (claim,) = bench.cluster.all_of("Job"), bench.cluster.all_of("PersistentVolumeClaim")
    bench.cluster.put({**claim, "status": {"phase": "Bound"}})
    assert not bench.cluster.all_of("Deployment")
    bench.cluster.put(running_pod(job))
    bench.cluster.logs["speech-preload-x"] = LINES
    result = await bench.reconcile()
    assert result.requeue_after_s == 5
    status = bench.endpoint()["status"]
    assert status["cache"] == {"model": "owner/name", "fetchedBytes": 600_000_000, "totalBytes": 1_617_000_000}
    condition = bench.conditions()["Preloaded"]
    assert (condition["status"], condition["reason"]) == ("False", "Preloading")
    assert condition["message"] == (
        f"Job {job['metadata']['name']} fetches owner/name into the volume of the cache. 37 % of 1617 MB are there. "
        "Pods start once it is done."
    )
    assert bench.conditions()["Ready"]["reason"] == "Preloading"
    bench.cluster.put(complete(job))
    await bench.settle()
    assert not bench.cluster.all_of("Job")
    (deployment,) = bench.cluster.all_of("Deployment")
    assert deployment["metadata"]["annotations"][names.PRELOADED_ANNOTATION]
    bench.restart()
    await bench.settle()
    assert not bench.cluster.all_of("Job")  # the Deployment remembers it
    assert bench.conditions()["Preloaded"]["status"] == "True"


@pytest.mark.parametrize(("log", "figures"), [(LINES, (600_000_000, 1_617_000_000)), ("", (0, 0)), ("{}\n[1]", (0, 0))])
def test_progress_is_the_last_line_with_figures(log: str, figures: tuple[int, int]) -> None:
    assert progress_in(log) == figures

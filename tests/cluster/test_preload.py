"""A model is in the volume before pods start, and before they get another one: Jobs on the real API server and Job controller."""

from __future__ import annotations

from cluster_kit.cluster import Document
from cluster_kit.simulated_pods import SLOW_START
from operator_kit.endpoints import merged
from operator_kit.live_endpoint import SOON_S, START_S, LiveEndpoint, course, stuck

NO_MODEL = (
    "whisper-server: MODEL_ID: owner/name cannot be fetched: revision main: Repository Not Found; "
    "check the name, MODEL_REVISION, HF_TOKEN and the network, or set it to a folder"
)


def spec(model: str = "owner/name", **more: object) -> Document:
    cache = {"persistentVolumeClaim": {"size": "1Gi"}, "preload": True}
    return merged({"model": {"id": model}, "cache": cache}, more)


def jobs(endpoint: LiveEndpoint) -> list[Document]:
    return endpoint.cluster.find("jobs", endpoint.namespace)


def served_model(endpoint: LiveEndpoint) -> str:
    (deployment,) = endpoint.cluster.find("deployments", endpoint.namespace)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return next(str(one["value"]) for one in container["env"] if one["name"] == "MODEL_ID")


def test_pods_wait_until_their_model_is_there(endpoint: LiveEndpoint) -> None:
    endpoint.apply(spec(**course("crash-loop", last_words=NO_MODEL)))
    messages = endpoint.expect(START_S, **stuck("PreloadFailed"), Preloaded="False PreloadFailed")
    assert "MODEL_ID: owner/name cannot be fetched: revision main: Repository Not Found" in messages["Preloaded"]
    assert "In the spec, MODEL_ID is model.id, MODEL_REVISION is model.revision" in messages["Preloaded"]
    assert "kubectl logs" in messages["Preloaded"]
    assert not endpoint.cluster.find("deployments", endpoint.namespace)
    (job,) = jobs(endpoint)
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["controller"]) == ("WhisperEndpoint", True)

    endpoint.apply(spec())
    endpoint.expect(START_S, Ready="True Ready", Preloaded="True Preloaded", RolledOut="True RolledOut")
    endpoint.cluster.wait(lambda: not jobs(endpoint), SOON_S, "the Job is gone")
    policies = endpoint.cluster.find("networkpolicies", endpoint.namespace)
    assert [one["metadata"]["name"] for one in policies] == [endpoint.name]

    # Another model: the old pods serve until it is there, and their number still follows the spec.
    endpoint.apply(spec("owner/other", replicas=2, **course(SLOW_START)))
    messages = endpoint.expect(
        START_S, Ready="True Ready", Preloaded="False Preloading", Progressing="True Preloading", RolledOut="False Preloading"
    )  # fmt: skip
    assert "owner/other" in messages["Preloaded"]
    assert "keep the model that they have" in messages["Preloaded"]
    endpoint.cluster.wait(lambda: len(endpoint.pods()) == 2, START_S, "there are two pods")
    assert served_model(endpoint) == "owner/name"
    assert endpoint.document()["status"]["cache"] == {"model": "owner/other"}

    endpoint.apply(spec("owner/other", replicas=2))
    endpoint.expect(START_S, Ready="True Ready", Preloaded="True Preloaded", RolledOut="True RolledOut")
    assert served_model(endpoint) == "owner/other"
    assert "cache" not in endpoint.document()["status"]

"""Status on a real control plane: each trouble is told within ten seconds, and gone within ten seconds of being mended.

The operator runs with its own default periods. What a person does to mend something is done here as the message says.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from cluster_kit.cluster import Cluster
from cluster_kit.nodes import Nodes
from operator_kit.installed_crd import installed_crd
from operator_kit.live_endpoint import LiveEndpoint
from operator_kit.operator_process import OperatorProcess

SOON_S = 10.0
START_S = 20.0
"""For what is not under test: the first pod of an endpoint, on a busy machine."""
STAGE = "test.whisper-operator.io/stage"
PERIODS = {"DRIFT_SECONDS": "60", "MISSING_SECONDS": "5"}
KEYS = {"access": {"apiKeysSecretRef": {"name": "clients"}}}
OWN_CLAIM = {"cache": {"persistentVolumeClaim": {"size": "1Gi"}}}
IMAGE = "registry.test/whisper-server:cpu"


@pytest.fixture(scope="module")
def operator(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    with installed_crd(cluster):
        process = OperatorProcess(cluster.kubeconfig, tmp_path_factory.mktemp("operator"), PERIODS)
        with process.running():
            yield process


@pytest.fixture
def endpoint(cluster: Cluster, namespace: str, operator: OperatorProcess) -> LiveEndpoint:
    return LiveEndpoint(cluster, namespace)


@pytest.fixture
def serving(endpoint: LiveEndpoint) -> LiveEndpoint:
    """One that is well."""
    endpoint.apply()
    endpoint.expect(START_S, Ready="True Ready")
    return endpoint


def pods(course: str, **more: str) -> dict[str, Any]:
    """A spec whose pods take this course from the start."""
    notes = {f"test.whisper-operator.io/{key.replace('_', '-')}": value for key, value in more.items()}
    return {"pod": {"annotations": {STAGE: course, **notes}}}


def stuck(reason: str) -> dict[str, str]:
    return {"Ready": f"False {reason}", "Available": f"False {reason}", "Progressing": f"False {reason}"}


# ── pods ──


def test_slow_start(endpoint: LiveEndpoint) -> None:
    endpoint.apply(pods("slow-start", after="12s"))
    told = endpoint.expect(
        SOON_S,
        Ready="False ModelLoading",
        Available="False ModelLoading",
        Progressing="True ModelLoading",
        Scheduled="True Scheduled",
    )
    (pod,) = endpoint.pods()
    name = pod["metadata"]["name"]
    assert told["Ready"] == (
        f"Pod {name}: the server runs and loads its model, for which rollout.startupSeconds allows 1800 s. "
        f"Follow it: `kubectl logs -n {endpoint.namespace} {name} -c server -f`."
    )
    told = endpoint.expect(12 + SOON_S, Ready="True Ready", Available="True Available", Progressing="True RolledOut")
    assert told["Ready"] == f"1 pod serves at http://speech.{endpoint.namespace}.svc.cluster.local/v1."
    assert endpoint.has_been("ModelLoading")
    assert endpoint.has_been("Ready")


def test_crash_loop(serving: LiveEndpoint) -> None:
    said = "whisper-server: DTYPE=bfloat16 needs compute capability 8.0, this GPU has 7.5"
    serving.cluster.annotate_pods(serving.namespace, stage="crash-loop", back_off="1s", last_words=said)
    told = serving.expect(SOON_S, **stuck("CrashLoopBackOff"), Scheduled="True Scheduled", Valid="True Valid")
    (pod,) = serving.pods()
    name = pod["metadata"]["name"]
    assert told["Ready"] == (
        f"Pod {name}: the server ended with exit code 1. Its last words: DTYPE=bfloat16 needs compute capability 8.0, "
        f"this GPU has 7.5. See `kubectl logs -n {serving.namespace} {name} -c server --previous`."
    )
    # It goes on crashing, every two seconds; the status has nothing new to say.
    version, restarts = serving.document()["metadata"]["resourceVersion"], _restarts(serving)
    serving.cluster.wait(lambda: _restarts(serving) >= restarts + 3, 30, "three more crashes")
    assert serving.document()["metadata"]["resourceVersion"] == version
    serving.cluster.annotate_pods(serving.namespace, stage="ready")
    serving.expect(SOON_S, Ready="True Ready", Available="True Available", Progressing="True RolledOut")
    assert serving.has_been("CrashLoopBackOff")


def _restarts(endpoint: LiveEndpoint) -> int:
    return sum(pod["status"]["containerStatuses"][0]["restartCount"] for pod in endpoint.pods())


def test_out_of_memory(serving: LiveEndpoint) -> None:
    serving.apply({"pod": {"resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}}}})
    serving.expect(START_S, Ready="True Ready", Progressing="True RolledOut")
    serving.cluster.annotate_pods(serving.namespace, stage="oom")
    told = serving.expect(SOON_S, **stuck("OOMKilled"))
    assert "was killed for using more memory than its limit of 2Gi. Raise pod.resources.limits.memory" in told["Ready"]
    serving.cluster.annotate_pods(serving.namespace, stage="ready")
    serving.expect(SOON_S, Ready="True Ready")


def test_failed_pull(endpoint: LiveEndpoint) -> None:
    endpoint.apply(pods("image-pull", back_off="1s"))
    told = endpoint.expect(SOON_S, **stuck("ImagePullBackOff"))
    assert f"image {IMAGE} cannot be pulled. The node says: failed to pull and unpack image" in told["Ready"]
    assert told["Ready"].endswith("not found. Check pod.image: there is no such image.")
    version = endpoint.document()["metadata"]["resourceVersion"]
    time.sleep(4)  # it is tried again, and waited for again
    assert endpoint.document()["metadata"]["resourceVersion"] == version
    endpoint.cluster.annotate_pods(endpoint.namespace, stage="ready")
    endpoint.expect(SOON_S, Ready="True Ready")


def test_a_rollout_that_fails_while_the_old_pod_serves(serving: LiveEndpoint) -> None:
    serving.apply(pods("crash-loop"))
    told = serving.expect(
        SOON_S, Ready="False CrashLoopBackOff", Available="True Available", Progressing="False CrashLoopBackOff"
    )
    assert told["Ready"].startswith("1 of 2 pods (")
    assert told["Ready"].endswith("Meanwhile 1 pod serves with earlier settings.")
    serving.apply()
    serving.expect(SOON_S, Ready="True Ready", Progressing="True RolledOut")


# ── what pods need ──


def test_missing_secret(endpoint: LiveEndpoint) -> None:
    endpoint.apply({**KEYS, **pods("config-error", message='secret "clients" not found')})
    told = endpoint.expect(SOON_S, **stuck("SecretMissing"))
    create = f"kubectl create secret generic clients --from-literal=CLIENT=KEY -n {endpoint.namespace}"
    assert told["Ready"] == (
        f"Secret clients is not there in namespace {endpoint.namespace} (access.apiKeysSecretRef). Make it: `{create}`."
    )
    endpoint.cluster.kubectl(*create.removeprefix("kubectl ").split())
    endpoint.cluster.annotate_pods(endpoint.namespace, stage="ready")  # as the node, which tries again
    endpoint.expect(SOON_S, Ready="True Ready")


def test_missing_key_of_a_secret(endpoint: LiveEndpoint) -> None:
    cluster, namespace = endpoint.cluster, endpoint.namespace
    cluster.kubectl("create", "secret", "generic", "hub", "--from-literal=other=1", f"--namespace={namespace}")
    words = f"couldn't find key token in Secret {namespace}/hub"
    endpoint.apply({"model": {"tokenSecretRef": {"name": "hub"}}, **pods("config-error", message=words)})
    told = endpoint.expect(SOON_S, **stuck("SecretMissing"))
    assert told["Ready"] == (
        "Secret hub has no key token, only other (model.tokenSecretRef). "
        f"Add it: `kubectl edit secret hub -n {namespace}`."
    )
    cluster.kubectl("patch", "secret", "hub", f"--namespace={namespace}", '--patch={"stringData": {"token": "hf_x"}}')
    cluster.annotate_pods(namespace, stage="ready")
    endpoint.expect(SOON_S, Ready="True Ready")


def test_failed_mount(endpoint: LiveEndpoint) -> None:
    endpoint.apply(pods("failed-mount"))
    told = endpoint.expect(SOON_S, **stuck("FailedMount"))
    assert (
        'its node cannot prepare it. The node says: MountVolume.SetUp failed for volume "cache": not found.'
        in told["Ready"]
    )
    endpoint.cluster.annotate_pods(endpoint.namespace, stage="ready")
    endpoint.expect(SOON_S, Ready="True Ready")


def _quota(endpoint: LiveEndpoint, **hard: str) -> None:
    limits = {"hard": {key.replace("_", "/"): value for key, value in hard.items()}}
    about = {"name": "small", "namespace": endpoint.namespace}
    endpoint.cluster.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": about, "spec": limits})

    def holds() -> bool:
        found = endpoint.cluster.get("resourcequota", "small", endpoint.namespace)
        return bool(found.get("status", {}).get("hard") == limits["hard"])

    endpoint.cluster.wait(holds, START_S, "the quota holds")


def test_exceeded_quota_of_pods(endpoint: LiveEndpoint) -> None:
    _quota(endpoint, pods="0")
    endpoint.apply()
    told = endpoint.expect(SOON_S, **stuck("QuotaExceeded"), Scheduled="Unknown NoPods")
    assert told["Ready"] == (
        "There is no room for a pod: exceeded quota: small, requested: pods=1, used: pods=0, limited: pods=0. "
        f"Raise the quota or free something: `kubectl describe quota -n {endpoint.namespace}`."
    )
    _quota(endpoint, pods="1")
    # When the pod is tried again is for Kubernetes to say: the longer it was refused, the later.
    endpoint.cluster.wait(endpoint.pods, 60, "there is a pod")
    endpoint.expect(SOON_S, Ready="True Ready")


def test_exceeded_quota_of_claims(endpoint: LiveEndpoint) -> None:
    _quota(endpoint, count_persistentvolumeclaims="0")
    endpoint.apply(OWN_CLAIM)
    told = endpoint.expect(SOON_S, **stuck("QuotaExceeded"))
    assert told["Ready"].startswith("There is no room for PersistentVolumeClaim speech-cache: exceeded quota: small, ")
    endpoint.cluster.delete("resourcequota", "small", namespace=endpoint.namespace)
    endpoint.expect(SOON_S, Ready="True Ready")


def test_forbidden_by_a_limit_range(endpoint: LiveEndpoint) -> None:
    about = {"name": "small", "namespace": endpoint.namespace}
    limits = {"limits": [{"type": "Container", "max": {"memory": "16Mi"}}]}
    endpoint.cluster.apply({"apiVersion": "v1", "kind": "LimitRange", "metadata": about, "spec": limits})
    endpoint.apply({"pod": {"resources": {"limits": {"memory": "1Gi"}}}})
    told = endpoint.expect(SOON_S, **stuck("Forbidden"))
    assert told["Ready"] == (
        "The API server forbids a pod: maximum memory usage per Container is 16Mi, but limit is 1Gi. "
        "Change pod.resources, or the namespace's LimitRange (`kubectl describe limitrange`)."
    )
    endpoint.cluster.delete("limitrange", "small", namespace=endpoint.namespace)
    endpoint.cluster.wait(endpoint.pods, 60, "Kubernetes has tried again")
    endpoint.expect(SOON_S, Ready="True Ready")


def test_deleted_claim(endpoint: LiveEndpoint) -> None:
    endpoint.apply(OWN_CLAIM)
    endpoint.expect(START_S, Ready="True Ready")
    endpoint.cluster.delete("pvc", "speech-cache", namespace=endpoint.namespace, wait=False)
    told = endpoint.expect(
        SOON_S, Ready="False ClaimMissing", Available="True Available", Progressing="False ClaimMissing"
    )
    (pod,) = endpoint.pods()
    name = pod["metadata"]["name"]
    assert told["Ready"] == (
        "PersistentVolumeClaim speech-cache is being deleted; once it is gone, a new, empty one is made. It goes when pod "
        f"{name}, which uses it, does: `kubectl delete pod -n {endpoint.namespace} {name}`. Meanwhile 1 pod serves."
    )
    endpoint.cluster.delete("pod", name, namespace=endpoint.namespace, wait=False)
    endpoint.expect(START_S, Ready="True Ready")
    assert not endpoint.cluster.get("pvc", "speech-cache", endpoint.namespace)["metadata"].get("deletionTimestamp")


def test_a_claim_of_somebody_that_is_not_there(endpoint: LiveEndpoint) -> None:
    endpoint.apply({"cache": {"existingClaim": "models"}})
    told = endpoint.expect(SOON_S, **stuck("ClaimMissing"), Scheduled="False ClaimMissing")
    assert told["Ready"].startswith(
        "PersistentVolumeClaim models (cache.existingClaim) is not there: make it in namespace"
    )
    assert "The scheduler says: 0/" in told["Scheduled"]
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "models", "namespace": endpoint.namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    endpoint.cluster.apply(claim)
    endpoint.expect(SOON_S, Ready="True Ready")


def test_a_claim_whose_class_is_not_there(endpoint: LiveEndpoint) -> None:
    endpoint.apply({"cache": {"persistentVolumeClaim": {"size": "1Gi", "storageClassName": "fast"}}})
    told = endpoint.expect(SOON_S, **stuck("ClaimPending"), Scheduled="False ClaimPending")
    assert told["Ready"].startswith(
        "PersistentVolumeClaim speech-cache (storage class fast) has no volume. Kubernetes says: "
    )


# ── nodes ──


def test_no_gpu_left(cluster: Cluster, namespace: str, operator: OperatorProcess, nodes: Nodes) -> None:
    nodes.only("cpu", "a100", "t4-0")
    first, second = (LiveEndpoint(cluster, namespace, name) for name in ("first", "second"))
    t4 = {"gpu": {"class": "t4"}}
    first.apply(t4)
    first.expect(START_S, Ready="True Ready")
    second.apply(t4)
    told = second.expect(SOON_S, **stuck("InsufficientGPU"), Scheduled="False InsufficientGPU")
    assert "The scheduler says: 0/3 nodes are available: " in told["Scheduled"]
    assert "1 Insufficient nvidia.com/gpu" in told["Scheduled"]
    nodes.add("t4-1")
    second.expect(SOON_S, Ready="True Ready", Scheduled="True Scheduled")


def test_no_such_gpu_at_all(cluster: Cluster, namespace: str, operator: OperatorProcess, nodes: Nodes) -> None:
    nodes.only("cpu", "a100")
    endpoint = LiveEndpoint(cluster, namespace)
    endpoint.apply({"gpu": {"class": "t4"}})
    told = endpoint.expect(SOON_S, **stuck("InsufficientGPU"), Scheduled="False InsufficientGPU")
    assert "No node has a GPU that gpu.class t4 allows: add one" in told["Ready"]
    endpoint.apply({"gpu": {"class": "ampere"}})
    endpoint.expect(SOON_S, Ready="True Ready", Scheduled="True Scheduled")


# ── the way in ──


def _route(host: str, class_name: str = "") -> dict[str, Any]:
    return {"exposure": {"ingress": {"host": host, **({"className": class_name} if class_name else {})}}}


@pytest.fixture
def ingress_class(cluster: Cluster, namespace: str) -> Iterator[Any]:
    """Makes an IngressClass of a name that no other test has."""
    name = f"class-of-{namespace}"

    def make() -> str:
        spec = {"controller": "example.com/none"}
        about = {"name": name}
        cluster.apply({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": about, "spec": spec})
        return name

    make.__dict__["named"] = name
    yield make
    cluster.delete("ingressclass", name)


def test_no_ingress_class(endpoint: LiveEndpoint, ingress_class: Any) -> None:
    name = ingress_class.named
    endpoint.apply(_route("speech.example.com", name))
    told = endpoint.expect(
        START_S, Ready="False IngressClassMissing", Exposed="False IngressClassMissing", Available="True Available"
    )
    assert told["Exposed"].startswith(f"There is no IngressClass {name}: no controller serves the Ingress.")
    assert told["Ready"].endswith("Meanwhile 1 pod serves.")
    ingress_class()
    endpoint.expect(SOON_S, Ready="True Ready", Exposed="True AddressPending")
    endpoint.cluster.delete("ingressclass", name)


def test_no_default_ingress_class(endpoint: LiveEndpoint) -> None:
    endpoint.apply(_route("speech.example.com"))
    told = endpoint.expect(START_S, Exposed="False IngressClassMissing")
    assert told["Exposed"].startswith(
        "exposure.ingress.className is not set and the cluster has no default IngressClass"
    )
    endpoint.apply({"exposure": None})
    endpoint.expect(SOON_S, Ready="True Ready")
    assert "Exposed" not in {one["type"] for one in endpoint.document()["status"]["conditions"]}


def test_two_endpoints_on_one_route(
    cluster: Cluster, namespace: str, operator: OperatorProcess, ingress_class: Any
) -> None:
    older, younger = (LiveEndpoint(cluster, namespace, name) for name in ("older", "younger"))
    route = _route("speech.example.com", ingress_class())
    older.apply(route)
    older.expect(START_S, Ready="True Ready", Exposed="True AddressPending")
    time.sleep(1.1)  # times of creation have no fractions
    younger.apply(route)
    told = younger.expect(
        SOON_S, Ready="False RouteConflict", Exposed="False RouteConflict", Available="True Available"
    )
    assert told["Exposed"] == (
        f"speech.example.com/ of IngressClass {ingress_class.named} belongs to the older WhisperEndpoint {namespace}/older: "
        "change exposure.ingress.host or path, or delete that one."
    )
    older.expect(1, Ready="True Ready")
    cluster.delete("wep", "older", namespace=namespace, wait=False)
    younger.expect(SOON_S, Ready="True Ready", Exposed="True AddressPending")


def test_no_gateway_api(endpoint: LiveEndpoint) -> None:
    if "httproutes" in endpoint.cluster.kubectl("api-resources", "--no-headers"):
        pytest.skip("this cluster has the Gateway API")
    endpoint.apply({"exposure": {"gateway": {"parentRefs": [{"name": "web"}]}}})
    endpoint.expect(START_S, Ready="False GatewayApiMissing", Exposed="False GatewayApiMissing")


# ── the endpoint itself ──


def test_a_name_that_is_taken(endpoint: LiveEndpoint) -> None:
    where = f"--namespace={endpoint.namespace}"
    endpoint.cluster.kubectl("create", "service", "clusterip", "speech", "--tcp=80", where)
    endpoint.apply()
    told = endpoint.expect(START_S, Ready="False NameTaken", Valid="False NameTaken")
    assert told["Valid"].startswith(
        "Service speech is there already and does not belong to this endpoint: it is left untouched."
    )
    endpoint.cluster.delete("service", "speech", namespace=endpoint.namespace)
    endpoint.expect(SOON_S, Ready="True Ready", Valid="True Valid")


def test_what_only_the_operator_can_see(endpoint: LiveEndpoint) -> None:
    t4 = {"gpu": {"class": "t4"}}
    endpoint.apply(t4)
    endpoint.expect(START_S, Ready="True Ready")
    before = [pod["metadata"]["uid"] for pod in endpoint.pods()]
    terms = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}
    endpoint.apply({**t4, "pod": {"affinity": {"nodeAffinity": terms}}})
    told = endpoint.expect(SOON_S, Ready="False InvalidSpec", Valid="False InvalidSpec", Available="True Available")
    assert told["Valid"].startswith("spec.pod.affinity.nodeAffinity.")
    assert told["Valid"].endswith("write one, or leave the terms out. Nothing is changed until it is mended.")
    assert told["Ready"].endswith("Meanwhile 1 pod serves.")
    assert [pod["metadata"]["uid"] for pod in endpoint.pods()] == before
    endpoint.apply(t4)
    endpoint.expect(SOON_S, Ready="True Ready", Valid="True Valid")


def test_suspended_and_scaled_to_zero(serving: LiveEndpoint) -> None:
    serving.apply({"suspend": True})
    serving.expect(SOON_S, Ready="False Suspended", Available="False Suspended", Scheduled="Unknown Suspended")
    serving.apply({"suspend": False})
    serving.expect(SOON_S, Ready="True Ready")
    serving.cluster.kubectl("scale", "wep", "speech", f"--namespace={serving.namespace}", "--replicas=0")
    serving.expect(SOON_S, Ready="False ScaledToZero", Available="False ScaledToZero")
    serving.cluster.kubectl("scale", "wep", "speech", f"--namespace={serving.namespace}", "--replicas=2")
    serving.expect(SOON_S, Ready="True Ready", Progressing="True RolledOut")
    assert serving.message() == f"2 pods serve at http://speech.{serving.namespace}.svc.cluster.local/v1."
    assert serving.document()["status"]["readyReplicas"] == 2

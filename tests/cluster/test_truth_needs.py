"""Status on a real control plane: Secrets, claims, quotas and GPUs that are missing.

The status names each fault within ten seconds, and drops it within ten seconds of its repair; the operator has its own default
periods. The tests repair each fault as its message says.
"""

from __future__ import annotations

from cluster_kit.cluster import Cluster
from cluster_kit.nodes import Nodes
from cluster_kit.simulated_nodes import NodeSpec
from operator_kit.live_endpoint import SOON_S, START_S, LiveEndpoint, course, stuck

KEYS = {"access": {"apiKeysSecretRef": {"name": "clients"}}}
OWN_CLAIM = {"cache": {"persistentVolumeClaim": {"size": "1Gi"}}}


def test_missing_secret(endpoint: LiveEndpoint) -> None:
    endpoint.apply({**KEYS, **course("config-error", message='secret "clients" not found')})
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
    endpoint.apply({"model": {"tokenSecretRef": {"name": "hub"}}, **course("config-error", message=words)})
    told = endpoint.expect(SOON_S, **stuck("SecretMissing"))
    assert told["Ready"] == (
        "Secret hub has no key token, only other (model.tokenSecretRef). "
        f"Add it: `kubectl edit secret hub -n {namespace}`."
    )
    cluster.kubectl("patch", "secret", "hub", f"--namespace={namespace}", '--patch={"stringData": {"token": "hf_x"}}')
    cluster.annotate_pods(namespace, stage="ready")
    endpoint.expect(SOON_S, Ready="True Ready")


def test_failed_mount(endpoint: LiveEndpoint) -> None:
    endpoint.apply(course("failed-mount"))
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
    # The claim is tried again every few seconds, and bound by others.
    endpoint.cluster.wait(lambda: _claim_is_bound(endpoint), START_S, "the claim is bound")
    endpoint.expect(SOON_S, Ready="True Ready")


def _claim_is_bound(endpoint: LiveEndpoint) -> bool:
    claims = endpoint.cluster.find("persistentvolumeclaims", endpoint.namespace)
    return [claim["status"].get("phase") for claim in claims] == ["Bound"]


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


def test_a_claim_that_is_somebody_elses(endpoint: LiveEndpoint) -> None:
    cluster, namespace = endpoint.cluster, endpoint.namespace
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "speech-cache", "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    cluster.apply(claim)
    endpoint.apply(OWN_CLAIM)
    told = endpoint.expect(SOON_S, **stuck("NameTaken"), Valid="False NameTaken")
    assert told["Valid"].startswith(
        "PersistentVolumeClaim speech-cache is there already and does not belong to this endpoint: it is left untouched, "
        "and so is the Deployment, whose pods would use it."
    )
    assert cluster.find("deployments", namespace) == []
    cluster.delete("pvc", "speech-cache", namespace=namespace)
    endpoint.expect(START_S, Ready="True Ready", Valid="True Valid")
    assert cluster.get("pvc", "speech-cache", namespace)["metadata"]["ownerReferences"][0]["name"] == "speech"


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


def test_no_gpu_left(cluster: Cluster, namespace: str, punctual_operator: None, nodes: Nodes) -> None:
    nodes.only("cpu", "a100", "t4-0")
    first, second = (LiveEndpoint(cluster, namespace, name) for name in ("first", "second"))
    t4 = {"gpu": {"class": "t4"}}
    first.apply(t4)
    first.expect(START_S, Ready="True Ready")
    second.apply(t4)
    told = second.expect(SOON_S, **stuck("InsufficientGPU"), Scheduled="False InsufficientGPU")
    assert "The scheduler says: 0/3 nodes are available: " in told["Scheduled"]
    assert "1 Insufficient nvidia.com/gpu" in told["Scheduled"]
    taken = "Every nvidia.com/gpu that gpu.class t4 allows is taken (1 on 1 node): free one or add a node"
    second.expect_words(SOON_S, "Scheduled", taken)
    nodes.add("t4-1")
    second.expect(SOON_S, Ready="True Ready", Scheduled="True Scheduled")


def test_no_such_gpu_at_all(cluster: Cluster, namespace: str, punctual_operator: None, nodes: Nodes) -> None:
    nodes.only("cpu")
    endpoint = LiveEndpoint(cluster, namespace)
    endpoint.apply({"gpu": {"class": "t4"}})
    endpoint.expect(SOON_S, **stuck("InsufficientGPU"), Scheduled="False InsufficientGPU")
    endpoint.expect_words(SOON_S, "Ready", "No node has nvidia.com/gpu")
    nodes.only("cpu", "a100")
    endpoint.expect_words(
        SOON_S, "Ready", "1 node (a100: compute capability 8.0, 40960 MiB) with nvidia.com/gpu, but none that"
    )
    nodes.only("cpu", "t4-shared")
    endpoint.expect_words(SOON_S, "Ready", "those of node t4-shared are shared or slices (MIG): write gpu.shared: true")
    nodes.only("cpu", NodeSpec("plain", 1))
    endpoint.expect_words(SOON_S, "Ready", "`kubectl label node plain nvidia.com/gpu.compute.major=7 ")
    label = ("nvidia.com/gpu.compute.major=7", "nvidia.com/gpu.compute.minor=5")
    cluster.kubectl("label", "node", "plain", *label)
    endpoint.expect(SOON_S, Ready="True Ready", Scheduled="True Scheduled")

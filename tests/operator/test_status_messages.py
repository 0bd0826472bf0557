"""What a person reads in `kubectl get wep -o wide` and `kubectl describe`: the whole message of Ready."""

from __future__ import annotations

import pytest

from operator_kit.judgements import judged, message
from operator_kit.situation import refused, serving
from operator_kit.situations import SITUATIONS

POD = "speech-5c9-aaaaa"
PULLED = (
    f"Pod {POD}: image registry.example.com/whisper-server:1 cannot be pulled. The node says: failed to pull and unpack "
    'image "registry.example.com/whisper-server:1": failed to resolve reference "registry.example.com/whisper-server:1": '
    "registry.example.com/whisper-server:1: not found. Check pod.image: there is no such image."
)

MESSAGES = {
    "serves": "1 pod serves at http://speech.team-a.svc.cluster.local/v1.",
    "Service without endpoints": "Service speech has no endpoint yet. If that stays so, see `kubectl get endpointslices -n team-a -l "
    "kubernetes.io/service-name=speech`, and whether kube-controller-manager runs. 1 pod is ready, but no request reaches it.",
    "slices of another Service": "Service speech is not there yet. 1 pod is ready, but no request reaches it.",
    "slow start": f"Pod {POD}: the server runs and loads its model, for which rollout.startupSeconds allows 1800 s. "
    f"Follow it: `kubectl logs -n team-a {POD} -c server -f`.",
    "suspended": "spec.suspend is true: there are no pods. Set it to false to start them.",
    "scaled to zero": "spec.replicas is 0: there are no pods. To start one: `kubectl scale wep -n team-a speech --replicas=1`.",
    "rollout goes well": "2 pods serve at http://speech.team-a.svc.cluster.local/v1. Further pods are coming up: see Progressing.",
    "rollout fails": "1 of 3 pods (c): the server ended with exit code 1. "
    "See `kubectl logs -n team-a c -c server --previous`. Meanwhile 2 pods serve with earlier settings.",
    "crash loop": f"Pod {POD}: the server ended with exit code 1. See `kubectl logs -n team-a {POD} -c server --previous`.",
    "out of memory": f"Pod {POD}: the server was killed for using more memory than its node had left (it has no limit of its own). "
    "Raise pod.resources.limits.memory (and requests.memory), or serve a smaller model.",
    "killed for a slow start": f"Pod {POD}: the server was not ready within 1800 s and was stopped. "
    f"Raise rollout.startupSeconds, or see what takes so long: `kubectl logs -n team-a {POD} -c server --previous`.",
    # The same words while a pull is tried and while the next try is waited for.
    "failed pull": PULLED,
    "failed pull, later": PULLED,
    "missing ConfigMap": f'Pod {POD}: the server cannot be started. The node says: configmap "ca" not found. '
    f"See `kubectl describe pod -n team-a {POD}`.",
    "failed mount": f'Pod {POD}: its node cannot prepare it. The node says: Multi-Attach error for volume "pvc-1". '
    "A ReadWriteOnce volume is for one node at a time: write replicas 1, or take a claim with accessModes [ReadWriteMany]. "
    f"See `kubectl describe pod -n team-a {POD}`.",
    "no GPU left": f"Pod {POD} has no node. The scheduler says: 0/13 nodes are available: 1 Insufficient nvidia.com/gpu, "
    "12 node(s) didn't match Pod's node affinity/selector. No node has a free nvidia.com/gpu that gpu.class t4 "
    "allows: free one if there are some, or add one, and the pod goes there by itself.",
    "no such GPU": f"Pod {POD} has no node. The scheduler says: 0/13 nodes are available: 1 node(s) had untolerated taint(s), "
    "12 node(s) didn't match Pod's node affinity/selector. No node shows a GPU that gpu.class t4 allows: add one, and the pod "
    "goes there by itself, or change gpu.class. If a tainted node is meant for it, name its taint in pod.tolerations.",
    "an ending pod has the GPU": f"Pod {POD} has no node. The scheduler says: 0/13 nodes are available: 1 Insufficient nvidia.com/gpu, "
    "12 node(s) didn't match Pod's node affinity/selector. Pod a, which is ending, still has its GPU: it is free once running "
    "requests are done (rollout.shutdownSeconds).",
    "quota of pods": "There is no room for a pod: exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2. "
    "Raise the quota or free something: `kubectl describe quota -n team-a`.",
    "forbidden by PodSecurity": 'The API server forbids a pod: violates PodSecurity "restricted:latest": runAsNonRoot. '
    "Relax the namespace's pod-security.kubernetes.io/enforce label, or what pod.* asks for.",
    "no API keys": "Secret clients is not there in namespace team-a (access.apiKeysSecretRef). "
    "Make it: `kubectl create secret generic clients --from-literal=CLIENT=KEY -n team-a`.",
    "no token": "Secret hub is not there in namespace team-a (model.tokenSecretRef). "
    "Make it: `kubectl create secret generic hub --from-literal=token=hf_… -n team-a`.",
    "no claim": "PersistentVolumeClaim models (cache.existingClaim) is not there: make it in namespace team-a, or name another.",
    "claim cannot be met": "PersistentVolumeClaim speech-cache (storage class standard) has no volume. "
    'Kubernetes says: storageclass.storage.k8s.io "standard" not found. See `kubectl describe pvc -n team-a speech-cache`.',
    "claim is being deleted": "PersistentVolumeClaim speech-cache is being deleted; once it is gone, a new, empty one is made. "
    f"It goes when pod {POD}, which uses it, does: `kubectl delete pod -n team-a {POD}`. Meanwhile 1 pod serves.",
    "no IngressClass": "There is no IngressClass contour: no controller serves the Ingress. Set exposure.ingress.className to one "
    "of `kubectl get ingressclass`, or install an ingress controller. Meanwhile 1 pod serves.",
    "no default IngressClass": "exposure.ingress.className is not set and the cluster has no default IngressClass: no controller "
    "serves the Ingress. Set exposure.ingress.className to one of `kubectl get ingressclass`, or install an ingress controller. "
    "Meanwhile 1 pod serves.",
    "route is taken": "speech.example.com/ of IngressClass contour belongs to the older WhisperEndpoint team-b/first: change "
    "exposure.ingress.host or path, or delete that one. Meanwhile 1 pod serves.",
    "no Gateway API": "The cluster does not serve HTTPRoute (gateway.networking.k8s.io/v1): install the Gateway API, or use "
    "exposure.ingress. Meanwhile 1 pod serves.",
    "refused by the Gateway": "Gateway team-a/web does not accept the HTTPRoute. It says NotAllowedByListeners: Not from team-a. "
    "Check exposure.gateway against its listeners. Meanwhile 1 pod serves.",
    "name is taken": "Deployment speech is there already and does not belong to this endpoint: it is left untouched. Give the "
    "endpoint another name, or remove that object. See `kubectl get deployment -n team-a speech -o yaml`.",
    "rollout is paused": "Deployment speech is paused, so pods do not get the newest settings: "
    "`kubectl rollout resume -n team-a deployment/speech`. Meanwhile 1 pod serves.",
    "cannot be carried out": "spec.pod.env[2].name: PORT is the operator's. Nothing is changed until it is fixed. "
    "Meanwhile 1 pod serves.",
}


@pytest.mark.parametrize("name", MESSAGES)
def test_ready_says_what_to_do(name: str) -> None:
    situation = SITUATIONS[name]
    status = judged(situation.spec, situation.snapshot, problem=situation.problem, parsed=situation.parsed)
    assert message(status) == MESSAGES[name]


@pytest.mark.parametrize(
    ("words", "way_out"),
    [
        (
            "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated",
            "write service.type ClusterIP",
        ),
        (
            'spec.ports[1].name: Duplicate value: "http"',
            "Once `kubectl delete service -n team-a speech` has removed it, the operator makes it again.",
        ),
    ],
)
def test_conflict_of_a_service_port_says_what_to_do(words: str, way_out: str) -> None:
    refusals = (refused("Service", "speech", 422, "Invalid", f'Service "speech" is invalid: {words}'),)
    assert way_out in message(judged({}, serving(refusals=refusals)))

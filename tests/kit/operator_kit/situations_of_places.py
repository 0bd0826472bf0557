"""Situations of pods without a node, and of namespaces that lack something."""

from __future__ import annotations

from collections.abc import Mapping

from operator_kit import live_objects as live
from operator_kit import live_pods
from operator_kit.judgements import snapshot_of
from operator_kit.situation import (
    CPU,
    CREATING,
    FULL,
    GPU,
    KEYS,
    MISSING,
    NO_POD,
    NONE_OF_CLASS,
    OTHERS_CLAIM,
    OWN_CLAIM,
    QUOTA,
    TOKEN,
    Situation,
    coming,
    held_back,
    no_node,
    one_pod,
    refused,
    serving,
    stuck,
)
from whisper_operator.snapshot import Presence, SecretLookup

OF_PLACES: Mapping[str, Situation] = {
    # ── pods have no node ──
    "no GPU left": Situation(GPU, no_node(FULL), stuck("InsufficientGPU", Scheduled="False InsufficientGPU")),
    "no such GPU": Situation(GPU, no_node(NONE_OF_CLASS), stuck("InsufficientGPU", Scheduled="False InsufficientGPU")),
    "no nodes at all": Situation(
        GPU, no_node("no nodes available to schedule pods"), stuck("InsufficientGPU", Scheduled="False InsufficientGPU")
    ),
    "an ending pod has the GPU": Situation(
        GPU,
        snapshot_of(
            live.deployment(),
            pods=[
                live_pods.pod("a", terminating=True, resources={"limits": {"nvidia.com/gpu": "1"}}),
                live_pods.unscheduled(FULL),
            ],
        ),
        coming("InsufficientGPU", Scheduled="False InsufficientGPU"),
    ),
    "no memory left": Situation(
        GPU,
        no_node("0/2 nodes are available: 1 Insufficient memory, 1 node(s) didn't match Pod's node affinity/selector."),
        stuck("InsufficientResources", Scheduled="False InsufficientResources"),
    ),
    "no node with such labels": Situation(
        CPU,
        no_node("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."),
        stuck("NoMatchingNode", Scheduled="False NoMatchingNode"),
    ),
    "a taint in the way": Situation(
        GPU,
        no_node(
            "0/2 nodes are available: 1 node(s) had untolerated taint {team: b}, 1 node(s) didn't match Pod's node affinity/selector."
        ),
        stuck("Unschedulable", Scheduled="False Unschedulable"),
    ),
    # ── the namespace lacks something ──
    "quota of pods": Situation(
        {}, snapshot_of(live.deployment(total=0, failure=QUOTA)), stuck("QuotaExceeded", **NO_POD)
    ),
    "quota of claims": Situation(
        OWN_CLAIM,
        snapshot_of(
            live.deployment(),
            pods=[live_pods.unscheduled('0/1 nodes are available: persistentvolumeclaim "speech-cache" not found.')],
            refusals=(
                refused(
                    "PersistentVolumeClaim",
                    "speech-cache",
                    403,
                    "Forbidden",
                    'persistentvolumeclaims "speech-cache" is forbidden: exceeded quota: disks, requested: requests.storage=10Gi, '
                    "used: requests.storage=0, limited: requests.storage=1Gi",
                ),
            ),
        ),
        stuck("QuotaExceeded", Scheduled="False ClaimMissing"),
    ),
    "forbidden by PodSecurity": Situation(
        {},
        snapshot_of(
            live.deployment(
                total=0,
                failure='pods "speech-5c9-x7k2p" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot',
            )
        ),
        stuck("Forbidden", **NO_POD),
    ),
    "refused by a webhook": Situation(
        {},
        snapshot_of(live.deployment(total=0, failure='admission webhook "policy.example.com" denied the request: no')),
        stuck("FailedCreate", **NO_POD),
    ),
    "no API keys": Situation(KEYS, one_pod(CREATING, secrets={"clients": MISSING}), stuck("SecretMissing")),
    "no token": Situation(
        TOKEN,
        one_pod(live_pods.waiting("CreateContainerConfigError", 'secret "hub" not found'), secrets={"hub": MISSING}),
        stuck("SecretMissing"),
    ),
    "no API keys any more": Situation(
        KEYS, serving(secrets={"clients": MISSING}), held_back("SecretMissing", Progressing="False SecretMissing")
    ),
    "Secrets cannot be read": Situation(
        KEYS, serving(secrets={"clients": SecretLookup(presence=Presence.UNKNOWN)}), {}
    ),
    "no claim": Situation(
        OTHERS_CLAIM,
        no_node('persistentvolumeclaim "models" not found'),
        stuck("ClaimMissing", Scheduled="False ClaimMissing"),
    ),
    "claim waits": Situation(
        OWN_CLAIM,
        snapshot_of(live.deployment(), live.claim("Pending"), pods=[live_pods.unscheduled("")]),
        coming("ClaimPending", Scheduled="Unknown Scheduling"),
    ),
    "claim cannot be met": Situation(
        OWN_CLAIM,
        snapshot_of(
            live.deployment(),
            live.claim("Pending"),
            pods=[
                live_pods.unscheduled(
                    "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found"
                )
            ],
            claim_events=(live.event("ProvisioningFailed", 'storageclass.storage.k8s.io "standard" not found'),),
        ),
        stuck("ClaimPending", Scheduled="False ClaimPending"),
    ),
    "claim is being deleted": Situation(
        OWN_CLAIM, serving(live.claim(terminating=True)), held_back("ClaimMissing", Progressing="False ClaimMissing")
    ),
    "claim has lost its volume": Situation(
        OWN_CLAIM, serving(live.claim("Lost")), held_back("ClaimLost", Progressing="False ClaimLost")
    ),
    "claim is bound": Situation(OWN_CLAIM, serving(live.claim()), {}),
}

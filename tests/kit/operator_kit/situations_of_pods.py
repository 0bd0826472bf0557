"""Situations that pods make: all is well, they come, they fail."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from operator_kit import live_objects as live
from operator_kit import live_pods
from operator_kit.endpoints import merged
from operator_kit.judgements import snapshot_of
from operator_kit.situation import (
    CREATING,
    NO_POD,
    PULL,
    SCALED,
    Situation,
    being_made,
    coming,
    held_back,
    no_node,
    one_pod,
    serving,
    stuck,
)
from whisper_operator.snapshot import ChildKey, FieldConflict, ImageHold, PreloadState

HOLD = ImageHold(kept="registry.example.com/whisper-server:1", wanted="registry.example.com/whisper-server:2")
CONFLICT = FieldConflict(
    key=ChildKey("Deployment", "speech"),
    fields=("spec.replicas",),
    managers=("kube-controller-manager (scale)",),
    autoscalers=("mine",),
)
NO_ENDPOINTS = {"reason": "NoEndpoints", "Available": "False NoEndpoints"}

PRELOADED = {"model": {"id": "owner/name"}, "cache": {"existingClaim": "models", "preload": True}}
BOUND: dict[str, Any] = {"existing_claim": live.claim()}

OF_PODS: Mapping[str, Situation] = {
    "rollout is paused": Situation(
        {},
        snapshot_of(merged(live.deployment(ready=1, updated=0), {"spec": {"paused": True}}), pods=[live_pods.pod()]),
        held_back("RolloutPaused", Progressing="False RolloutPaused"),
    ),
    # ── all is well, or will be ──
    "serves": Situation({}, serving(), {}),
    "Service without endpoints": Situation(
        {}, serving(live.service(), slices=(live.endpoint_slice(ready=False),)), held_back(**NO_ENDPOINTS)
    ),
    "slices of another Service": Situation(
        {}, serving(slices=(live.endpoint_slice("other"),)), held_back(**NO_ENDPOINTS)
    ),
    "waits for a new default image": Situation({}, serving(image_hold=HOLD), {"DefaultImage": "False ImageWaiting"}),
    "rollout of an image has stopped": Situation(
        {},
        serving(image_hold=dataclasses.replace(HOLD, stopped_by="team-b/other")),
        {"DefaultImage": "False ImageRolloutStopped"},
    ),
    "an autoscaler of its own on the Deployment": Situation(
        {}, serving(conflicts=(CONFLICT,)), {"Synced": "False FieldConflict"}
    ),
    "model is preloaded": Situation(
        PRELOADED,
        snapshot_of(preload=PreloadState(), **BOUND),
        coming("Preloading", Preloaded="False Preloading", **NO_POD),
    ),
    "preload fails": Situation(
        PRELOADED,
        snapshot_of(preload=PreloadState(pods=(live_pods.pod(state=live_pods.ended(1)),)), **BOUND),
        stuck("PreloadFailed", Preloaded="False PreloadFailed", **NO_POD),
    ),
    "another model is preloaded": Situation(
        PRELOADED,
        serving(preload=PreloadState(), **BOUND),
        {"Preloaded": "False Preloading", "Progressing": "True Preloading"},
    ),
    "model was preloaded": Situation(PRELOADED, serving(**BOUND), {"Preloaded": "True Preloaded"}),
    "new": Situation({}, snapshot_of(), coming("Creating", Progressing="Unknown Creating", **NO_POD)),
    "no pod yet": Situation(
        {}, snapshot_of(live.deployment(total=0)), coming("NoReadyPods", Progressing="True RollingOut", **NO_POD)
    ),
    "scheduler is silent": Situation(
        {}, no_node(""), coming("NoReadyPods", Progressing="True RollingOut", Scheduled="Unknown Scheduling")
    ),
    "container is being made": Situation({}, one_pod(CREATING), coming("ContainerCreating")),
    "slow start": Situation({}, one_pod(live_pods.loading()), coming("ModelLoading")),
    "started, then not ready": Situation({}, one_pod(live_pods.up(ready=False)), coming("NotReady")),
    "node lost": Situation(
        {}, snapshot_of(live.deployment(), pods=[live_pods.pod(ready=False)]), coming("NodeNotReady")
    ),
    "suspended": Situation(
        {"suspend": True, **SCALED},
        snapshot_of(live.deployment(0)),
        coming("Suspended", Scheduled="Unknown Suspended", Autoscaling="False Suspended"),
    ),
    "suspended, pods going": Situation(
        {"suspend": True},
        snapshot_of(live.deployment(0), pods=[live_pods.pod(terminating=True)]),
        coming("Suspended", Scheduled="Unknown Suspended"),
    ),
    "scaled to zero": Situation(
        {"replicas": 0}, snapshot_of(live.deployment(0)), coming("ScaledToZero", Scheduled="Unknown ScaledToZero")
    ),
    "some of several pods load": Situation(
        {"replicas": 3},
        snapshot_of(
            live.deployment(3, ready=2, available=True),
            pods=[live_pods.pod("a"), live_pods.pod("b"), live_pods.pod("c", live_pods.loading())],
        ),
        {"Progressing": "True ModelLoading"},
    ),
    "too few of several pods": Situation(
        {"replicas": 3},
        snapshot_of(live.deployment(3, ready=1, total=1), pods=[live_pods.pod("a")]),
        coming("TooFewReadyPods", Progressing="True RollingOut"),
    ),
    "rollout goes well": Situation(
        {"replicas": 2},
        snapshot_of(
            live.deployment(2, ready=2, updated=1, total=3, available=True, progressing=live.progress()),
            pods=[
                live_pods.pod("a", settings=live.OLD_SETTINGS),
                live_pods.pod("b", settings=live.OLD_SETTINGS),
                live_pods.pod("c", live_pods.loading()),
            ],
        ),
        {"Progressing": "True ModelLoading"},
    ),
    # ── pods fail ──
    "crash loop": Situation({}, one_pod(live_pods.ended(1)), stuck("CrashLoopBackOff")),
    "crashed and started again": Situation({}, one_pod(live_pods.ended(1, backs_off=False)), stuck("CrashLoopBackOff")),
    "started again after the node": Situation(
        {}, one_pod(live_pods.ended(255, reason="Unknown", backs_off=False)), coming("ModelLoading")
    ),
    "out of memory": Situation({}, one_pod(live_pods.ended(137, reason="OOMKilled")), stuck("OOMKilled")),
    "killed for a slow start": Situation({}, one_pod(live_pods.ended(137, ran_s=1801)), stuck("StartupTimeout")),
    "deadline over": Situation(
        {"rollout": {"startupSeconds": 300}},
        snapshot_of(
            live.deployment(progressing=live.deadline_exceeded()), pods=[live_pods.pod(state=live_pods.loading())]
        ),
        stuck("StartupTimeout"),
    ),
    "deadline over, but loading only now": Situation(
        {},
        snapshot_of(
            live.deployment(progressing=live.deadline_exceeded()), pods=[live_pods.pod(state=live_pods.loading())]
        ),
        coming("ModelLoading"),
    ),
    "failed pull": Situation({}, one_pod(live_pods.waiting("ErrImagePull", PULL)), stuck("ImagePullBackOff")),
    "failed pull, later": Situation(
        {},
        one_pod(
            live_pods.waiting(
                "ImagePullBackOff",
                f'Back-off pulling image "registry.example.com/whisper-server:1": ErrImagePull: {PULL}',
            )
        ),
        stuck("ImagePullBackOff"),
    ),
    "no image name": Situation(
        {},
        one_pod(live_pods.waiting("InvalidImageName", 'couldn\'t parse image name "A:B:C"')),
        stuck("InvalidImageName"),
    ),
    "missing ConfigMap": Situation(
        {},
        one_pod(live_pods.waiting("CreateContainerConfigError", 'configmap "ca" not found')),
        stuck("CreateContainerConfigError"),
    ),
    "missing key of a Secret, by the node": Situation(
        {},
        one_pod(live_pods.waiting("CreateContainerConfigError", "couldn't find key token in Secret team-a/hub")),
        stuck("SecretMissing"),
    ),
    "failed mount": Situation(
        {}, being_made(live.event("FailedAttachVolume", 'Multi-Attach error for volume "pvc-1"')), stuck("FailedMount")
    ),
    "failed mount, long ago": Situation(
        {}, being_made(live.event("FailedMount", "no", ago=900)), coming("ContainerCreating")
    ),
    "failed mount, but now the image is pulled": Situation(
        {}, being_made(live.event("FailedMount", "no"), has_sandbox=True), coming("ContainerCreating")
    ),
    "refused by its node": Situation(
        {},
        snapshot_of(
            live.deployment(),
            pods=[
                live_pods.failed("UnexpectedAdmissionError", "Allocate failed: no devices"),
                live_pods.pod(state=live_pods.loading()),
            ],
        ),
        coming("PodFailed"),
    ),
    "evicted": Situation(
        {},
        snapshot_of(
            live.deployment(),
            pods=[
                live_pods.failed("Evicted", "The node was low on resource: memory. "),
                live_pods.pod(state=live_pods.loading()),
            ],
        ),
        coming("Evicted"),
    ),
    "evicted long ago": Situation(
        {},
        snapshot_of(
            live.deployment(ready=1),
            pods=[live_pods.failed("Evicted", "The node was low on resource: memory. "), live_pods.pod()],
        ),
        {},
    ),
    "rollout fails": Situation(
        {"replicas": 2},
        snapshot_of(
            live.deployment(2, ready=2, updated=1, total=3, available=True, progressing=live.progress()),
            pods=[
                live_pods.pod("a", settings=live.OLD_SETTINGS),
                live_pods.pod("b", settings=live.OLD_SETTINGS),
                live_pods.pod("c", live_pods.ended(1)),
            ],
        ),
        held_back("CrashLoopBackOff", Progressing="False CrashLoopBackOff"),
    ),
    "the last one fails, the next one loads": Situation(
        {},
        snapshot_of(
            live.deployment(updated=1, total=2, progressing=live.progress()),
            pods=[
                live_pods.pod("a", live_pods.ended(1), settings=live.OLD_SETTINGS),
                live_pods.pod("b", live_pods.loading()),
            ],
        ),
        coming("ModelLoading"),
    ),
}

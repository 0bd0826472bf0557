"""Every reason of our own that a condition of a WhisperEndpoint can have, with one line of explanation each.

The documentation's table is generated from `REASONS`. Conditions can also repeat reasons of Kubernetes: the kubelet's for a
waiting container, and those of a HorizontalPodAutoscaler.
"""

from __future__ import annotations

from collections.abc import Mapping

READY = "Ready"
VALID = "Valid"
AVAILABLE = "Available"
SCHEDULED = "Scheduled"
ROLLED_OUT = "RolledOut"
ROLLING_OUT = "RollingOut"
ROLLOUT_PAUSED = "RolloutPaused"
CREATING = "Creating"
SUSPENDED = "Suspended"
SCALED_TO_ZERO = "ScaledToZero"
NO_PODS = "NoPods"
SCHEDULING = "Scheduling"
NO_READY_PODS = "NoReadyPods"
NO_ENDPOINTS = "NoEndpoints"
TOO_FEW_READY_PODS = "TooFewReadyPods"

INVALID_SPEC = "InvalidSpec"
NOT_ALLOWED = "NotAllowed"
CHILD_INVALID = "ChildInvalid"
NAME_TAKEN = "NameTaken"
QUOTA_EXCEEDED = "QuotaExceeded"
FORBIDDEN = "Forbidden"
FAILED_CREATE = "FailedCreate"
APPLY_FAILED = "ApplyFailed"

SECRET_MISSING = "SecretMissing"  # noqa: S105 - the word for it, not a secret
CLAIM_MISSING = "ClaimMissing"
CLAIM_PENDING = "ClaimPending"
CLAIM_LOST = "ClaimLost"

INSUFFICIENT_GPU = "InsufficientGPU"
INSUFFICIENT_RESOURCES = "InsufficientResources"
NO_MATCHING_NODE = "NoMatchingNode"
UNSCHEDULABLE = "Unschedulable"

CONTAINER_CREATING = "ContainerCreating"
MODEL_LOADING = "ModelLoading"
STARTUP_TIMEOUT = "StartupTimeout"
NOT_READY = "NotReady"
CRASH_LOOP = "CrashLoopBackOff"
OUT_OF_MEMORY = "OOMKilled"
IMAGE_PULL = "ImagePullBackOff"
INVALID_IMAGE_NAME = "InvalidImageName"
CONFIG_ERROR = "CreateContainerConfigError"
FAILED_MOUNT = "FailedMount"
NODE_NOT_READY = "NodeNotReady"
EVICTED = "Evicted"
POD_FAILED = "PodFailed"

EXPOSED = "Exposed"
ADDRESS_PENDING = "AddressPending"
ROUTE_PENDING = "RoutePending"
ROUTE_CONFLICT = "RouteConflict"
ROUTE_NOT_ACCEPTED = "RouteNotAccepted"
INGRESS_CLASS_MISSING = "IngressClassMissing"
GATEWAY_API_MISSING = "GatewayApiMissing"

AUTOSCALER_PENDING = "AutoscalerPending"
TOO_MANY_REPLICAS = "TooManyReplicas"

PRELOADED = "Preloaded"
PRELOADING = "Preloading"
PRELOAD_FAILED = "PreloadFailed"

IMAGE_WAITING = "ImageWaiting"
IMAGE_ROLLOUT_STOPPED = "ImageRolloutStopped"

FIELD_CONFLICT = "FieldConflict"

REASONS: Mapping[str, str] = {
    READY: "Ready=True: enough pods serve, and nothing prevents further pods from starting.",
    VALID: "Valid=True: the spec can be applied.",
    AVAILABLE: "Available=True: at least one pod is ready, and as many as the Deployment needs.",
    SCHEDULED: "Scheduled=True: every pod has a node.",
    ROLLED_OUT: "Progressing=True, RolledOut=True: all pods run what the spec asks for.",
    ROLLING_OUT: "Pods are being replaced or added, and nothing is wrong so far.",
    CREATING: "The operator has not created the Deployment yet, or an earlier one is still being deleted; the message says what blocks the deletion.",
    SUSPENDED: "`spec.suspend` is true: there are no pods.",
    SCALED_TO_ZERO: "`spec.replicas` is 0: there are no pods.",
    NO_PODS: "There is no pod yet.",
    SCHEDULING: "The scheduler has not decided about a pod yet.",
    NO_READY_PODS: "No pod is ready, and nothing reports why.",
    NO_ENDPOINTS: "Pods are ready, but the Service sends requests to none of them: it is missing, or Kubernetes has not written its EndpointSlices.",
    TOO_FEW_READY_PODS: "Some pods are ready, but fewer than `rollout.maxUnavailable` allows.",
    INVALID_SPEC: "The API server accepted the spec, but the operator cannot apply it. Running pods are left as they are.",
    NOT_ALLOWED: "The operator's settings refuse an image or an annotation of the spec. Running pods and routes are left as they are.",
    CHILD_INVALID: "The API server refused a child that results from the spec.",
    NAME_TAKEN: "An object that does not belong to this endpoint has the name that a child needs. It is left untouched.",
    QUOTA_EXCEEDED: "A ResourceQuota of the namespace leaves no room for a pod or another object.",
    FORBIDDEN: "An admission rule (PodSecurity, LimitRange …) or missing rights of the operator forbid an object.",
    FAILED_CREATE: "A pod could not be created for another reason, such as an admission webhook.",
    APPLY_FAILED: "An object could not be written; the operator retries by itself.",
    SECRET_MISSING: "A Secret that the spec names, or a key in it, is missing.",
    CLAIM_MISSING: "The PersistentVolumeClaim of the cache is missing, or is being deleted.",
    CLAIM_PENDING: "The PersistentVolumeClaim of the cache has no volume yet.",
    CLAIM_LOST: "The volume behind the PersistentVolumeClaim of the cache is gone.",
    INSUFFICIENT_GPU: "No node that `gpu` allows has a GPU left, or there is no such node. Clears when one appears.",
    INSUFFICIENT_RESOURCES: "Nodes that match lack CPU, memory or room for another pod.",
    NO_MATCHING_NODE: "No node that the pod may go to has the labels that `pod.nodeSelector`, `pod.affinity` or `defaults.nodeSelector` of the chart ask for.",
    UNSCHEDULABLE: "The scheduler finds no node for another reason, such as a taint: its message is quoted.",
    CONTAINER_CREATING: "A node is preparing a pod: volumes are mounted, the image is pulled.",
    MODEL_LOADING: "The server runs and loads its model; it may take up to `rollout.startupSeconds`.",
    STARTUP_TIMEOUT: "The model was not loaded within `rollout.startupSeconds`.",
    NOT_READY: "The model was loaded, but the server now reports that it is not ready.",
    ROLLOUT_PAUSED: "The Deployment was paused by `kubectl rollout pause`, and pods lack the newest settings.",
    CRASH_LOOP: "The server ends again and again; the message has its exit code and its last log line.",
    OUT_OF_MEMORY: "The server was killed because it used more memory than its limit or its node allows.",
    IMAGE_PULL: "An image cannot be pulled; the message quotes the registry.",
    INVALID_IMAGE_NAME: "An image's name is malformed.",
    CONFIG_ERROR: "A container cannot be created, for example because a ConfigMap is missing.",
    FAILED_MOUNT: "A volume cannot be mounted, or a pod's sandbox cannot be created.",
    NODE_NOT_READY: "A pod's node no longer reports.",
    EVICTED: "A pod was evicted from its node, and its replacement is not ready yet.",
    POD_FAILED: "A node rejected or ended a pod, and its replacement is not ready yet.",
    EXPOSED: "Exposed=True: the route is in place.",
    ADDRESS_PENDING: "Exposed=True: the route is in place, but no load balancer has published an address for it (some never do).",
    ROUTE_PENDING: "No controller has accepted the route yet.",
    ROUTE_CONFLICT: "An older endpoint has the same class or gateway, host and path.",
    ROUTE_NOT_ACCEPTED: "A Gateway does not accept the HTTPRoute; the message quotes it.",
    INGRESS_CLASS_MISSING: "The IngressClass does not exist, or the cluster has no default one.",
    GATEWAY_API_MISSING: "The cluster does not serve HTTPRoute: the Gateway API is not installed.",
    AUTOSCALER_PENDING: "The HorizontalPodAutoscaler has not decided anything yet.",
    PRELOADED: "Preloaded=True: the volume of the cache has the model.",
    PRELOADING: "A Job downloads the model into the volume of the cache, and pods wait for it (`cache.preload`).",
    PRELOAD_FAILED: "That Job cannot download the model; the message has its last log line. It tries again by itself.",
    IMAGE_WAITING: "DefaultImage=False: a new default image is rolled out to a few endpoints at a time, and this one waits for its turn.",
    IMAGE_ROLLOUT_STOPPED: "DefaultImage=False: an endpoint that got the new default image is not ready with it, so the others keep theirs.",
    FIELD_CONFLICT: "Synced=False: another client keeps changing fields that the operator writes; the message names both. Clears five minutes after its last change.",
    TOO_MANY_REPLICAS: "Autoscaling=True: the autoscaler wants more pods than `autoscaling.maxReplicas`.",
}

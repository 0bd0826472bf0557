"""What becomes of pods on simulated nodes, as kwok's Stage objects.

The annotation (or label) `test.whisper-operator.io/stage` of a pod chooses a course; without it a pod is ready at once,
or, where it is not to be restarted, done. Courses look at what the pod is now: a new value on a live pod makes it sick
or well. Times are Go durations: "3s".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

PREFIX = "test.whisper-operator.io"
STAGE = f"{PREFIX}/stage"
AFTER = f"{PREFIX}/after"
"""How long a slow start takes (5s), or a container runs before it crashes or fails (300ms)."""
BACK_OFF = f"{PREFIX}/back-off"
"""How long a crashed container or a failed pull waits for its next try (5s)."""
TERMINATING = f"{PREFIX}/terminating"
"""How long a deleted pod takes to go (0s)."""
LAST_WORDS = f"{PREFIX}/last-words"
"""What a container leaves as its termination message."""
MESSAGE = f"{PREFIX}/message"
"""Instead of the message that a failed pull or a missing Secret shows."""

READY = "ready"
SLOW_START = "slow-start"
NOT_READY = "not-ready"
"""Runs, and its readiness probe fails."""
CRASH_LOOP = "crash-loop"
OUT_OF_MEMORY = "oom"
IMAGE_PULL = "image-pull"
CONFIG_ERROR = "config-error"
FAILED_MOUNT = "failed-mount"
FAIL = "fail"
"""Of a pod that is not restarted: ends with 1 instead of 0."""

COURSE = f'.metadata.annotations["{STAGE}"] // .metadata.labels["{STAGE}"] // "{READY}"'
IS_READY = '.status.conditions[]? | select(.type == "Ready") | .status'
LOOKS = (
    "[.status.containerStatuses[]?.state.waiting.reason // empty][0] // (.status.phase | "
    f'if . != "Running" then . elif ([$pod | {IS_READY}][0]) == "True" then "Ready" else "Unready" end)'
)
LOOKS = f". as $pod | {LOOKS}"
"""What its containers wait for, else Ready or Unready where they run, else the phase."""


@dataclass(frozen=True)
class Picture:
    """What a pod's status shows: `state` and `last` are templates of YAML in braces, for one container each."""

    phase: str
    state: str
    ready: bool = False
    started: bool = False
    last: str = "{{ toJson (or $old.lastState dict) }}"
    restarts: int = 0
    """How many more than before."""
    sandbox: bool = True
    """Volumes are mounted, and the network is there."""


NOW = "{{ $now | Quote }}"
RUNNING = f"{{running: {{startedAt: {NOW}}}}}"


def waiting(reason: str, message: str = '""') -> str:
    """`message` is an expression of Go's templates."""
    given = f'(or (index $notes "{MESSAGE}") {message})'
    return f"{{waiting: {{reason: {reason}, message: {{{{ {given} | Quote }}}}}}}}"


def terminated(reason: str, exit_code: int) -> str:
    said = f'{{{{ or (index $notes "{LAST_WORDS}") "" | Quote }}}}'
    times = f"startedAt: {NOW}, finishedAt: {NOW}"
    return f"{{terminated: {{reason: {reason}, exitCode: {exit_code}, message: {said}, {times}}}}}"


BACKING_OFF = '(printf "back-off restarting failed container=%s pod=%s_%s" $c.name $pod.metadata.name $space)'
NOT_FOUND = '(printf "failed to pull and unpack image \\"%s\\": failed to resolve reference: not found" $c.image)'
PULL_LATER = '(printf "Back-off pulling image \\"%s\\": ErrImagePull: %s" $c.image ' + NOT_FOUND + ")"

RUNS = Picture("Running", RUNNING, ready=True, started=True)
STARTS = Picture("Running", RUNNING)
CRASHED = Picture("Running", waiting("CrashLoopBackOff", BACKING_OFF), last=terminated("Error", 1), restarts=1)
KILLED = Picture("Running", waiting("CrashLoopBackOff", BACKING_OFF), last=terminated("OOMKilled", 137), restarts=1)
PULL_FAILED = Picture("Pending", waiting("ErrImagePull", NOT_FOUND))
PULL_WAITS = Picture("Pending", waiting("ImagePullBackOff", PULL_LATER))
NO_CONFIG = Picture("Pending", waiting("CreateContainerConfigError", '"secret \\"missing\\" not found"'))
CREATING = Picture("Pending", waiting("ContainerCreating"), sandbox=False)
SUCCEEDED = Picture("Succeeded", terminated("Completed", 0))
FAILED = Picture("Failed", terminated("Error", 1))


def status(picture: Picture) -> str:
    """The template of a status. A condition that stays what it was keeps its time."""
    ended = picture.phase in {"Succeeded", "Failed"}
    why = "PodCompleted" if ended else "ContainersNotReady"
    conditions = [
        ("PodReadyToStartContainers", picture.sandbox and not ended, ""),
        ("Initialized", True, ""),
        ("ContainersReady", picture.ready, why),
        ("Ready", picture.ready, why),
    ]
    return "\n".join(
        [
            "{{ $now := Now }}{{ $pod := . }}{{ $space := .metadata.namespace }}",
            "{{ $notes := or .metadata.annotations dict }}",
            f"phase: {picture.phase}",
            "startTime: {{ or .status.startTime $now | Quote }}",
            "conditions:",
            *(_condition(*condition) for condition in conditions),
            "{{ range .spec.readinessGates }}",
            '- {type: {{ .conditionType | Quote }}, status: "True", lastTransitionTime: {{ $now | Quote }}}',
            "{{ end }}",
            "{{ with .spec.initContainers }}initContainerStatuses:",
            "{{ range . }}",
            '- {name: {{ .name | Quote }}, image: {{ .image | Quote }}, imageID: "", ready: true, restartCount: 0,',
            f"   state: {terminated('Completed', 0)}}}",
            "{{ end }}{{ end }}",
            "containerStatuses:",
            "{{ range $c := .spec.containers }}{{ $old := dict }}",
            "{{ range $pod.status.containerStatuses }}{{ if eq .name $c.name }}{{ $old = . }}{{ end }}{{ end }}",
            "- name: {{ $c.name | Quote }}",
            "  image: {{ $c.image | Quote }}",
            '  imageID: ""',
            f"  ready: {str(picture.ready).lower()}",
            f"  started: {str(picture.started).lower()}",
            f"  restartCount: {{{{ add (int (or $old.restartCount 0)) {picture.restarts} }}}}",
            f"  state: {picture.state}",
            f"  lastState: {picture.last}",
            "{{ end }}",
            "{{ if not .status.podIP }}",
            "{{ $host := or .spec.hostNetwork false }}{{ $name := .metadata.name }}",
            "{{ $ip := PodIPWith .spec.nodeName $host .metadata.uid $name $space }}",
            "podIP: {{ $ip | Quote }}",
            "podIPs: [{ip: {{ $ip | Quote }}}]",
            "hostIP: {{ NodeIPWith .spec.nodeName | Quote }}",
            "{{ end }}",
        ]
    )


def _condition(kind: str, holds: bool, reason: str) -> str:
    value = '"True"' if holds else '"False"'
    since = f"$since{kind}"
    names = "{{ range $pod.spec.containers }} {{ .name }}{{ end }}"
    why = f'reason: {reason}, message: "containers with unready status:{names}"'
    why = "reason: null, message: null" if holds or not reason else why
    return "\n".join(
        [
            f"{{{{ {since} := $now }}}}{{{{ range .status.conditions }}}}",
            f'{{{{ if and (eq .type "{kind}") (eq .status {value}) }}}}{{{{ {since} = .lastTransitionTime }}}}{{{{ end }}}}',
            "{{ end }}",
            f"- {{type: {kind}, status: {value}, lastTransitionTime: {{{{ {since} | Quote }}}}, {why}}}",
        ]
    )


def on(course: str) -> dict[str, Any]:
    return {"key": COURSE, "operator": "In", "values": [course]}


def looks(*values: str) -> dict[str, Any]:
    return {"key": LOOKS, "operator": "In", "values": list(values)}


def looks_not(*values: str) -> dict[str, Any]:
    return {"key": LOOKS, "operator": "NotIn", "values": list(values)}


def restarts(*policies: str) -> dict[str, Any]:
    return {"key": ".spec.restartPolicy", "operator": "In", "values": list(policies)}


def delay(annotation: str, default: str) -> dict[str, Any]:
    return {"durationFrom": {"expressionFrom": f'.metadata.annotations["{annotation}"] // "{default}"'}}


def _stage(
    name: str, when: Sequence[dict[str, Any]], picture: Picture, *, after: dict[str, Any] | None = None, event: str = ""
) -> dict[str, Any]:
    alive = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}
    following: dict[str, Any] = {"statusTemplate": status(picture)}
    if event:
        following["event"] = {"type": "Warning", "reason": "FailedMount", "message": event}
    return _document(name, "Pod", [alive, *when], next=following, **({"delay": after} if after else {}))


def _document(name: str, kind: str, when: Sequence[dict[str, Any]], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": list(when)},
            **spec,
        },
    }


def stages() -> Iterator[dict[str, Any]]:
    """All of them. No two match one pod at a time: kwok would draw lots."""
    soon, back_off = delay(AFTER, "300ms"), delay(BACK_OFF, "5s")
    yield _stage("ready", [on(READY), restarts("Always"), looks_not("Ready")], RUNS)
    yield _stage("not-ready", [on(NOT_READY), looks_not("Unready")], STARTS)
    yield _stage("starts", [on(SLOW_START), looks_not("Ready", "Unready")], STARTS)
    yield _stage("has-started", [on(SLOW_START), looks("Unready")], RUNS, after=delay(AFTER, "5s"))
    for course, picture in ((CRASH_LOOP, CRASHED), (OUT_OF_MEMORY, KILLED)):
        yield _stage(f"{course}-ends", [on(course), looks_not("CrashLoopBackOff")], picture, after=soon)
        yield _stage(f"{course}-restarts", [on(course), looks("CrashLoopBackOff")], STARTS, after=back_off)
    yield _stage("pull-fails", [on(IMAGE_PULL), looks_not("ErrImagePull", "ImagePullBackOff")], PULL_FAILED)
    yield _stage("pull-waits", [on(IMAGE_PULL), looks("ErrImagePull")], PULL_WAITS, after=delay(AFTER, "1s"))
    yield _stage("pull-again", [on(IMAGE_PULL), looks("ImagePullBackOff")], PULL_FAILED, after=back_off)
    yield _stage("config-error", [on(CONFIG_ERROR), looks_not("CreateContainerConfigError")], NO_CONFIG)
    mount = [on(FAILED_MOUNT), looks_not("ContainerCreating")]
    yield _stage("failed-mount", mount, CREATING, event='MountVolume.SetUp failed for volume "cache": not found')
    ends = [restarts("Never", "OnFailure"), looks_not("Succeeded", "Failed")]
    yield _stage("succeeds", [on(READY), *ends], SUCCEEDED, after=soon)
    yield _stage("fails", [on(FAIL), *ends], FAILED, after=soon)
    deleted = {"key": ".metadata.deletionTimestamp", "operator": "Exists"}
    yield _document("delete", "Pod", [deleted], delay=delay(TERMINATING, "0s"), next={"delete": True})
    is_new = {"key": IS_READY, "operator": "NotIn", "values": ["True"]}
    yield _document("node", "Node", [is_new], next={"statusTemplate": NODE_STATUS})


NODE_STATUS = """
conditions:
{{ range NodeConditions }}
- {type: {{ .type | Quote }}, status: {{ .status | Quote }}, reason: {{ .reason | Quote }},
   message: {{ .message | Quote }}, lastHeartbeatTime: {{ Now | Quote }}, lastTransitionTime: {{ Now | Quote }}}
{{ end }}
addresses:
- {type: InternalIP, address: {{ NodeIP | Quote }}}
- {type: Hostname, address: {{ NodeName | Quote }}}
nodeInfo: {architecture: amd64, operatingSystem: linux, kubeletVersion: v1.35.4, kernelVersion: simulated,
  osImage: simulated, containerRuntimeVersion: simulated, kubeProxyVersion: "", bootID: "", machineID: "", systemUUID: ""}
"""

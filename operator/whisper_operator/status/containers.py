"""Why one pod is not ready, from its own status: crashes, memory, images, or just a slow start.

Pods without a node are handled in `scheduling`; `pods` combines the issues of several pods.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

from whisper_operator import names
from whisper_operator.resource.fields import Document
from whisper_operator.resource.reserved import RESERVED_ENV
from whisper_operator.status import reasons
from whisper_operator.status.accessors import get_int, get_list, get_str, get_value
from whisper_operator.status.conditions import condition_of
from whisper_operator.status.container import Container
from whisper_operator.status.endpoint_view import EndpointView, is_ready, node_of, parse_time, pod_name
from whisper_operator.status.issue import command, joined, quoted
from whisper_operator.status.mounts import preparing
from whisper_operator.status.pod_issue import PodIssue
from whisper_operator.status.termination_message import most_telling_line

NEARLY_ALL = 0.9
"""Fraction of the startup time that counts as all of it: probes and clocks are not exact."""
_PULL_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "SignatureValidationFailed", "ImageInspectError"}
)
_BACK_OFF = re.compile(r'^Back-off pulling image "[^"]*"(?:: (?:ErrImagePull|RegistryUnavailable))?(?:: )?')
_PULL_ADVICE = (
    (("unauthorized", "denied", "authentication required", "401", "403"), "a Secret in pod.imagePullSecrets may be missing"),
    (("no such host", "timeout", "connection refused", "dial tcp"), "the nodes must reach the registry"),
    (("x509", "certificate"), "the nodes must trust the registry's certificate"),
    (("toomanyrequests", "rate limit"), "the registry limits anonymous pulls: name a Secret in pod.imagePullSecrets"),
    (("not found", "manifest unknown", "NotFound"), "there is no such image"),
)  # fmt: skip
_MISSING_SECRET = re.compile(r'secret "[^"]+" not found|couldn\'t find key \S+ in Secret|non-existent secret key')
_VARIABLE = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*\b")


def pod_issue_of(pod: Document, view: EndpointView) -> PodIssue | None:
    """Why a pod with a node is not ready; None if it is ready or has no node yet."""
    if is_ready(pod) or not node_of(pod):
        return None
    containers = list(_containers(pod))
    pod_issues = [found for container in containers if (found := _of_container(container, view)) is not None]
    if pod_issues:
        return min(pod_issues)
    if containers and all(container.is_up for container in containers):
        return _of_the_node(pod)
    return preparing(pod, view)


def is_loading_in_time(pod: Document, view: EndpointView) -> bool:
    """Whether the server of a pod has run clearly less than the time allowed for loading the model."""
    for entry in get_list(pod, "status", "containerStatuses"):
        began = parse_time(get_str(entry, "state", "running", "startedAt"))
        if get_str(entry, "name") == names.CONTAINER and began is not None and not entry.get("started"):
            return (view.now - began).total_seconds() < NEARLY_ALL * view.startup_seconds
    return False


def _containers(pod: Document) -> Iterator[Container]:
    """Init containers that have not finished, and all other containers."""
    specs = {
        get_str(entry, "name"): entry
        for key in ("initContainers", "containers")
        for entry in get_list(pod, "spec", key)
    }
    for entry in get_list(pod, "status", "initContainerStatuses"):
        if not entry.get("ready"):
            yield Container(pod, specs.get(get_str(entry, "name"), {}), entry)
    for entry in get_list(pod, "status", "containerStatuses"):
        yield Container(pod, specs.get(get_str(entry, "name"), {}), entry)


def _of_container(container: Container, view: EndpointView) -> PodIssue | None:
    waits_for = get_str(container.waiting, "reason")
    if container.is_up or waits_for == "PodInitializing":
        return None
    if waits_for in _PULL_REASONS or waits_for in {reasons.INVALID_IMAGE_NAME, "ErrImageNeverPull"}:
        return _image(container, view)
    if container.last_end and waits_for in {"", reasons.CRASH_LOOP, "RunContainerError"}:
        return _ended(container, view)
    if waits_for and waits_for != reasons.CONTAINER_CREATING:
        return _not_made(container)
    if get_value(container.status, "state", "running") is not None:
        return _not_ready(container, view)
    return None


def _image(container: Container, view: EndpointView) -> PodIssue:
    """A failed pull. The text is the same during an attempt and during the back-off."""
    reason, said = get_str(container.waiting, "reason"), get_str(container.waiting, "message")
    words = _BACK_OFF.sub("", said)
    image, field = get_str(container.spec, "image") or get_str(container.status, "image"), "pod.image"
    if container.name != names.CONTAINER:
        field = f"the image of {container.name} in pod.{container.field}"
    cache = view.endpoint.spec.cache if view.endpoint else None
    if cache and cache.image and cache.image.reference in said:
        image, field = cache.image.reference, "cache.image.reference"
    advice = next((text for signs, text in _PULL_ADVICE if any(sign in words for sign in signs)), "")
    stable = reasons.IMAGE_PULL if reason == "ErrImagePull" else reason
    return PodIssue(
        reason=stable,
        text=joined(f"image {image} cannot be pulled.", f"The node says: {quoted(words)}" if words else ""),
        advice=f"Check {field}{f': {advice}' if advice else ''}.",
    )


def _ended(container: Container, view: EndpointView) -> PodIssue:
    end, who = container.last_end, container.who
    logs = container.see_logs(previous=True)
    code = get_int(end, "exitCode")
    if get_str(end, "reason") == reasons.OUT_OF_MEMORY:
        limit = get_value(container.spec, "resources", "limits", "memory")
        what = f"its limit of {limit}" if limit else "its node had left (it has no limit of its own)"
        return PodIssue(
            reason=reasons.OUT_OF_MEMORY,
            text=f"{who} was killed for using more memory than {what}.",
            advice="Raise pod.resources.limits.memory (and requests.memory), or serve a smaller model."
            if container.name == names.CONTAINER
            else f"Raise its resources.limits.memory in pod.{container.field}.",
        )
    if code in {0, 137, 143} and _ran_s(end) >= NEARLY_ALL * view.startup_seconds:
        return PodIssue(
            reason=reasons.STARTUP_TIMEOUT,
            text=f"{who} was not ready within {view.startup_seconds} s and was stopped.",
            advice=f"Raise rollout.startupSeconds, or see what takes so long: {logs}.",
        )
    said = most_telling_line(get_str(end, "message"))
    return PodIssue(
        reason=reasons.CRASH_LOOP,
        text=joined(f"{who} ended with {_exit(code)}.", f"Its last words: {quoted(said)}" if said else ""),
        advice=joined(_in_the_spec(said), f"See {logs}."),
    )


def _in_the_spec(said: str) -> str:
    """Fields of the spec for the variables that the server's message names."""
    known = [name for name in dict.fromkeys(_VARIABLE.findall(said)) if RESERVED_ENV.get(name)]
    return f"In the spec, {', '.join(f'{name} is {RESERVED_ENV[name]}' for name in known)}." if known else ""


def _exit(code: int) -> str:
    meaning = {0: "it stopped by itself", 126: "the command cannot be run", 127: "the command is not there"}.get(
        code, ""
    )
    if code > 128:
        try:
            meaning = signal.Signals(code - 128).name
        except ValueError:
            meaning = ""
    return f"exit code {code}{f' ({meaning})' if meaning else ''}"


def _ran_s(end: Document) -> float:
    began, ended = parse_time(get_str(end, "startedAt")), parse_time(get_str(end, "finishedAt"))
    return (ended - began).total_seconds() if began and ended else 0.0


def _not_made(container: Container) -> PodIssue:
    reason, words = get_str(container.waiting, "reason"), get_str(container.waiting, "message")
    secret = _MISSING_SECRET.search(words)
    return PodIssue(
        reason=reasons.SECRET_MISSING if secret else reason,
        text=joined(f"{container.who} cannot be started.", f"The node says: {quoted(words)}" if words else ""),
        advice=f"See {command(f'kubectl describe pod -n {container.namespace} {pod_name(container.pod)}')}.",
    )


def _not_ready(container: Container, view: EndpointView) -> PodIssue:
    if container.field == "initContainers":
        text = f"{container.who} still runs, and the server starts after its end."
        return PodIssue(reason=reasons.NOT_READY, text=text, advice=f"See {container.see_logs()}.", hard=False)
    if container.status.get("started"):
        return PodIssue(
            reason=reasons.NOT_READY,
            text=f"{container.who} was ready before but now reports that it is not ready.",
            advice=f"See {container.see_logs()}.",
            hard=False,
        )
    if container.name != names.CONTAINER:
        return PodIssue(
            reason=reasons.NOT_READY,
            text=f"{container.who} is not ready.",
            advice=f"See {container.see_logs()}.",
            hard=False,
        )
    return PodIssue(
        reason=reasons.MODEL_LOADING,
        text=f"the server runs and loads its model, for which rollout.startupSeconds allows {view.startup_seconds} s.",
        advice=f"Follow it: {container.see_logs(follow=True)}.",
        hard=False,
    )


def _of_the_node(pod: Document) -> PodIssue:
    """All containers are up, but the pod is not: its node does not report, or a readiness gate is closed."""
    node, condition = node_of(pod), condition_of(pod, "Ready")
    if get_str(condition, "reason") == "ReadinessGatesNotReady":
        words = quoted(get_str(condition, "message"))
        return PodIssue(reason=reasons.NOT_READY, text=f"a readiness gate is closed: {words}", advice="", hard=False)
    return PodIssue(
        reason=reasons.NODE_NOT_READY,
        text=f"the server is up, but node {node}, where it runs, seems to be lost.",
        advice=f"See {command(f'kubectl describe node {node}')}.",
        hard=False,
    )

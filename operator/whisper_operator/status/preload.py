"""The condition Preloaded: whether the volume of the cache has the model, how far its download is, or why it fails. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from whisper_operator.kinds import JOB
from whisper_operator.resource.fields import Document
from whisper_operator.snapshot import PreloadState
from whisper_operator.status import reasons
from whisper_operator.status.accessors import get_str
from whisper_operator.status.conditions import Condition, Truth, condition_of, fails
from whisper_operator.status.containers import pod_issue_of
from whisper_operator.status.endpoint_view import EndpointView, is_terminating, pod_name
from whisper_operator.status.issue import Issue, command, joined, quoted

TYPE = "Preloaded"
MB = 1_000_000
LATER = "Pods start once it is done."
MEANWHILE = "The pods that there are keep the model that they have until it is done."


def preloaded(view: EndpointView) -> Condition | None:
    """None: the spec asks for no preload."""
    if view.endpoint is None:
        return view.as_before(TYPE)
    cache = view.endpoint.spec.cache
    if cache is None or not cache.preload:
        return None
    if view.suspended:
        suspended = "spec.suspend is true: there are no pods that could wait for it."
        return Condition(type=TYPE, status=Truth.UNKNOWN, reason=reasons.SUSPENDED, message=suspended)
    found = next(preload_issues(view), None)
    if found is not None:
        return fails(TYPE, found)
    message = f"The volume of the cache has {view.endpoint.spec.model.id}."
    return Condition(type=TYPE, status=Truth.TRUE, reason=reasons.PRELOADED, message=message)


def preload_issues(view: EndpointView) -> Iterator[Issue]:
    """At most one."""
    state = view.snapshot.preload
    if state is None or view.endpoint is None:
        return
    pods = [pod for pod in state.pods if not is_terminating(pod)]
    job = next((key.name for key, _ in view.snapshot.children.items() if key.kind == JOB.kind), "")
    then = MEANWHILE if view.pods else LATER
    if pods and (trouble := _trouble(pods[-1], view)) is not None:
        yield Issue(reason=trouble.reason, message=joined(trouble.message, then))
        return
    far = _far(state)
    if job and not pods:
        far = f"It has no pod yet; if that stays so, see {_describe('job', job, view)}."
    who = f"Job {job}" if job else "A Job"
    message = joined(f"{who} fetches {view.endpoint.spec.model.id} into the volume of the cache.", far, then)
    yield Issue(reason=reasons.PRELOADING, message=message, hard=False)


def cache_status(view: EndpointView) -> dict[str, Any]:
    """`status.cache`; empty: nothing is on its way."""
    state = view.snapshot.preload
    if state is None or view.endpoint is None:
        return {}
    figures = {"fetchedBytes": state.fetched_bytes, "totalBytes": state.total_bytes} if state.total_bytes else {}
    return {"model": view.endpoint.spec.model.id, **figures}


def _far(state: PreloadState) -> str:
    if not state.total_bytes:
        return ""
    share = 100 * state.fetched_bytes // state.total_bytes
    return f"{share} % of {state.total_bytes / MB:.0f} MB are there."


def _trouble(pod: Document, view: EndpointView) -> Issue | None:
    """Why the Job's pod does not get on; None: it runs, or has not begun yet."""
    name = pod_name(pod)
    scheduled = condition_of(pod, "PodScheduled")
    if get_str(scheduled, "status") == "False":
        words = quoted(get_str(scheduled, "message"))
        see = _describe("pod", name, view)
        return Issue(
            reason=reasons.UNSCHEDULABLE,
            message=f"Pod {name}, which preloads the model, gets no node: {words} See {see}.",
        )
    found = pod_issue_of(pod, view)
    if found is None or not found.hard:
        return None
    reason = reasons.PRELOAD_FAILED if found.reason == reasons.CRASH_LOOP else found.reason
    return Issue(reason=reason, message=joined(f"Pod {name}, which preloads the model: {found.text}", found.advice))


def _describe(kind: str, name: str, view: EndpointView) -> str:
    return command(f"kubectl describe {kind} -n {view.namespace} {name}")

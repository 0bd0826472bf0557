"""Everything that keeps pods from starting, in the order in which a person should fix it; and the conditions Available and Progressing.

Available is about requests now: the Deployment's own condition, but never True without a ready pod (a Deployment whose only
pod may be unavailable calls itself available) or without an endpoint of the Service, and it stays True when more pods are requested. Progressing is about the
rollout: False if it is stuck.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from whisper_operator.status import reasons
from whisper_operator.status.accessors import get_int, get_str, get_value
from whisper_operator.status.child_issues import not_there, pod_refusals, workload_refusals
from whisper_operator.status.claims import claim_issues
from whisper_operator.status.conditions import Condition, Truth, condition_of, fails
from whisper_operator.status.containers import is_loading_in_time
from whisper_operator.status.endpoint_view import EndpointView
from whisper_operator.status.issue import Issue, command, counted, joined
from whisper_operator.status.pods import pod_issues
from whisper_operator.status.preload import preload_issues
from whisper_operator.status.scheduling import scheduling_issues
from whisper_operator.status.secrets import secret_issues

AVAILABLE = "Available"
PROGRESSING = "Progressing"
ROLLED_OUT = "RolledOut"
_DONE = frozenset({reasons.ROLLED_OUT, reasons.SUSPENDED, reasons.SCALED_TO_ZERO})


def workload_issues(view: EndpointView, valid: Condition) -> tuple[Issue, ...]:
    """Issues that need a fix, then issues that resolve by themselves."""
    found = list(_all_issues(view))
    if not valid.holds and view.deployment is None:
        found.insert(0, Issue(reason=valid.reason, message=valid.message))
    return tuple(sorted(found, key=lambda each: not each.hard))


def _all_issues(view: EndpointView) -> Iterator[Issue]:
    yield from workload_refusals(view)
    if view.n_wanted == 0:
        return
    yield from secret_issues(view)
    yield from claim_issues(view)
    yield from preload_issues(view)
    yield from pod_refusals(view)
    yield from _paused(view)
    of_pods = (*pod_issues(view), *scheduling_issues(view))
    yield from of_pods
    yield from _deadline(view, of_pods)


def _paused(view: EndpointView) -> Iterator[Issue]:
    """`kubectl rollout pause` keeps new settings from pods; the number of pods still follows the spec."""
    is_held = view.has_old_pods or get_int(view.deployment_status, "updatedReplicas") == 0
    if is_paused(view) and view.deployment_is_current and is_held:
        message = f"Deployment {view.name} is paused, so pods do not get the newest settings: {_resume(view)}."
        yield Issue(reason=reasons.ROLLOUT_PAUSED, message=message)


def is_paused(view: EndpointView) -> bool:
    return get_value(view.deployment or {}, "spec", "paused") is True


def _resume(view: EndpointView) -> str:
    return command(f"kubectl rollout resume -n {view.namespace} deployment/{view.name}")


def _deadline(view: EndpointView, of_pods: tuple[Issue, ...]) -> Iterator[Issue]:
    """The rollout exceeded its deadline. Pods that waited long and load now still have time, which the kubelet enforces."""
    condition = condition_of(view.deployment, PROGRESSING)
    if not view.deployment_is_current or get_str(condition, "reason") != "ProgressDeadlineExceeded":
        return
    if any(is_loading_in_time(pod, view) for pod in view.new_pods):
        return
    over = f"No further pod became ready in the time that a rollout may take (rollout.startupSeconds is {view.startup_seconds})."
    logs = command(f"kubectl logs -n {view.namespace} deployment/{view.name} --tail=50")
    waits_for = of_pods[0].message if of_pods else f"See {logs}."
    yield Issue(reason=reasons.STARTUP_TIMEOUT, message=joined(over, waits_for))


def available(view: EndpointView, issues: tuple[Issue, ...]) -> Condition:
    """Whether enough pods serve, with new or earlier settings."""
    count = f"{counted(view.n_ready, view.n_wanted)} {'is' if view.n_ready == 1 else 'are'} ready."
    if view.n_wanted == 0:
        return fails(AVAILABLE, no_pods_wanted(view))
    if view.n_ready and _deployment_suffices(view):
        if not view.has_endpoint:
            return fails(AVAILABLE, _no_endpoint(view))
        return Condition(type=AVAILABLE, status=Truth.TRUE, reason=reasons.AVAILABLE, message=count)
    if view.deployment is None:
        return fails(AVAILABLE, issues[0] if issues else _not_made(view))
    if issues:
        partly = f"Only {count}" if view.n_ready else ""
        return fails(AVAILABLE, Issue(reason=issues[0].reason, message=joined(partly, issues[0].message)))
    few = Issue(reason=reasons.TOO_FEW_READY_PODS, message=f"Only {count}")
    return fails(AVAILABLE, few if view.n_ready else Issue(reason=reasons.NO_READY_PODS, message=count))


def _no_endpoint(view: EndpointView) -> Issue:
    """Pods are ready, but no request reaches them: the Service is missing, or its EndpointSlices name no ready pod."""
    if view.child("Service") is None:
        why = not_there("Service", view)
    else:
        see = command(f"kubectl get endpointslices -n {view.namespace} -l kubernetes.io/service-name={view.name}")
        why = f"Service {view.name} has no endpoint yet. If that stays so, see {see}, and whether kube-controller-manager runs."
    verb, them = ("is", "it") if view.n_ready == 1 else ("are", "them")
    ready = f"{counted(view.n_ready, view.n_wanted)} {verb} ready, but no request reaches {them}."
    return Issue(reason=reasons.NO_ENDPOINTS, message=joined(why, ready), hard=False)


def _deployment_suffices(view: EndpointView) -> bool:
    """Whether the Deployment is available; while its status lags behind its spec, the previous value.

    A Deployment that is scaled up becomes unavailable at once. Here Available stays True unless a ready pod is lost.
    """
    held = get_str(view.previous.get(AVAILABLE, {}), "status") == "True"
    if not view.deployment_is_current:
        return held
    says = get_str(condition_of(view.deployment, AVAILABLE), "status") == "True"
    return says or (held and view.n_ready >= view.n_ready_before)


def _not_made(view: EndpointView) -> Issue:
    return Issue(reason=reasons.CREATING, message=not_there("Deployment", view), hard=False)


def no_pods_wanted(view: EndpointView) -> Issue:
    if view.suspended:
        return Issue(
            reason=reasons.SUSPENDED, message="spec.suspend is true: there are no pods. Set it to false to start them."
        )
    scale = command(f"kubectl scale wep -n {view.namespace} {view.name} --replicas=1")
    return Issue(
        reason=reasons.SCALED_TO_ZERO, message=f"spec.replicas is 0: there are no pods. To start one: {scale}."
    )


def progressing(view: EndpointView, issues: tuple[Issue, ...]) -> Condition:
    """True while pods start and once all have started; False if an issue prevents it."""
    if issues and issues[0].hard:
        return fails(PROGRESSING, issues[0])
    if view.n_wanted == 0 and not view.pods:
        off = no_pods_wanted(view)
        return Condition(type=PROGRESSING, status=Truth.TRUE, reason=off.reason, message=off.message)
    if view.deployment is None and not issues:
        waiting = _not_made(view)
        return Condition(type=PROGRESSING, status=Truth.UNKNOWN, reason=waiting.reason, message=waiting.message)
    if issues:
        return Condition(type=PROGRESSING, status=Truth.TRUE, reason=issues[0].reason, message=issues[0].message)
    if is_rolled_out(view):
        message = "All pods run what the spec asks for."
        if is_paused(view):
            message += f" The Deployment is paused: the next change waits for {_resume(view)}."
        return Condition(type=PROGRESSING, status=Truth.TRUE, reason=reasons.ROLLED_OUT, message=message)
    return Condition(type=PROGRESSING, status=Truth.TRUE, reason=reasons.ROLLING_OUT, message=_rollout_progress(view))


def rolled_out(view: EndpointView, *, valid: Condition, progressing: Condition) -> Condition:
    """For `kubectl wait`: True once all pods run what this generation of the spec asks for, and are ready."""
    is_done = progressing.holds and progressing.reason in _DONE
    if valid.holds and is_done and is_rolled_out(view):
        return dataclasses.replace(progressing, type=ROLLED_OUT)
    because = progressing if valid.holds else valid
    status = Truth.UNKNOWN if because.status is Truth.UNKNOWN else Truth.FALSE
    return Condition(type=ROLLED_OUT, status=status, reason=because.reason, message=because.message)


def is_rolled_out(view: EndpointView) -> bool:
    """As `kubectl rollout status` decides it, if the pods agree."""
    status = view.deployment_status
    counts = [get_int(status, key) for key in ("updatedReplicas", "replicas", "availableReplicas")]
    return view.deployment_is_current and set(counts) == {view.n_wanted} and view.n_ready == view.n_wanted


def _rollout_progress(view: EndpointView) -> str:
    if not view.deployment_is_current:
        return "The Deployment controller has not observed the newest settings yet."
    updated = get_int(view.deployment_status, "updatedReplicas")
    return f"{updated} of {view.n_wanted} pods have the newest settings, {view.n_ready} of all are ready."

"""The condition Autoscaling: what the HorizontalPodAutoscaler or KEDA's ScaledObject reports, in its own words. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from whisper_operator.kinds import SCALED_OBJECT
from whisper_operator.resource.choices import ScalingMetric
from whisper_operator.resource.fields import Document
from whisper_operator.resource.spec import Autoscaling
from whisper_operator.status import reasons
from whisper_operator.status.accessors import get_str
from whisper_operator.status.child_issues import AUTOSCALER_KIND, AUTOSCALER_KINDS, refused
from whisper_operator.status.conditions import Condition, Truth, conditions_of, fails
from whisper_operator.status.endpoint_view import EndpointView
from whisper_operator.status.issue import Issue, joined, quoted

TYPE = "Autoscaling"


def autoscaling(view: EndpointView) -> Condition | None:
    """None without `autoscaling`."""
    wanted = view.endpoint.spec.autoscaling if view.endpoint else None
    if wanted is None:
        return None if view.endpoint else view.as_before(TYPE)
    if view.suspended:
        message = "spec.suspend is true: there is no autoscaler until it is false."
        return Condition(type=TYPE, status=Truth.FALSE, reason=reasons.SUSPENDED, message=message)
    found = refused(AUTOSCALER_KINDS, view)
    if found is not None:
        return fails(TYPE, found)
    scaled = view.child(SCALED_OBJECT.kind)
    return _repeated(view, wanted) if scaled is None else _of_keda(conditions_of(scaled))


def _of_keda(conditions: Mapping[str, Document]) -> Condition:
    ready = conditions.get("Ready") or {}
    reason, message = get_str(ready, "reason") or TYPE, quoted(get_str(ready, "message"))
    if _is(ready, "False"):
        advice = "See `kubectl get scaledobjects` and the log of KEDA's operator."
        return fails(TYPE, Issue(reason=reason, message=joined(message, advice)))
    if not _is(ready, "True"):
        message = "KEDA has not decided anything yet."
        return Condition(type=TYPE, status=Truth.UNKNOWN, reason=reasons.AUTOSCALER_PENDING, message=message)
    if _is(conditions.get("Fallback"), "True"):
        message = "KEDA gets no answer from the operator's prometheusUrl: see `kubectl describe scaledobjects`."
        return fails(TYPE, Issue(reason="FallbackExists", message=message))
    return Condition(type=TYPE, status=Truth.TRUE, reason=reason, message=message)


def _repeated(view: EndpointView, wanted: Autoscaling) -> Condition:
    conditions = conditions_of(view.child(AUTOSCALER_KIND) or {})
    failed = next((each for each in map(conditions.get, ("AbleToScale", "ScalingActive")) if _is(each, "False")), None)
    if failed is not None:
        reason = get_str(failed, "reason") or TYPE
        message = joined(quoted(get_str(failed, "message")), _advice(reason, wanted))
        return fails(TYPE, Issue(reason=reason, message=message))
    active, limited = conditions.get("ScalingActive"), conditions.get("ScalingLimited")
    if active is None or not _is(active, "True"):
        message = "The autoscaler has not decided anything yet."
        return Condition(type=TYPE, status=Truth.UNKNOWN, reason=reasons.AUTOSCALER_PENDING, message=message)
    if limited and _is(limited, "True") and limited.get("reason") == reasons.TOO_MANY_REPLICAS:
        message = f"The autoscaler would go beyond autoscaling.maxReplicas ({wanted.max_replicas})."
        return Condition(type=TYPE, status=Truth.TRUE, reason=reasons.TOO_MANY_REPLICAS, message=message)
    message = quoted(get_str(active, "message"))
    return Condition(type=TYPE, status=Truth.TRUE, reason=get_str(active, "reason") or TYPE, message=message)


def _is(condition: Document | None, status: str) -> bool:
    return condition is not None and condition.get("status") == status


def _advice(reason: str, wanted: Autoscaling) -> str:
    if reason == "ScalingDisabled":
        return "Set spec.replicas to 1 or more: an autoscaler does not start from 0."
    if not reason.startswith("FailedGet") or reason == "FailedGetScale":
        return ""
    if wanted.metric is ScalingMetric.CPU:
        return "autoscaling.metric cpu needs metrics-server: `kubectl top pods` must work."
    return (
        f"autoscaling.metric {wanted.metric} needs an adapter that serves custom metrics: see `kubectl get apiservices`. "
        "Or install KEDA and set the operator's prometheusUrl."
    )

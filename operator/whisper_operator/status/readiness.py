"""The conditions Valid and Ready. Ready repeats the issue that a person must fix first, from whichever condition it comes.

Ready=True: the endpoint is valid, available and exposed, and there is no issue that needs a fix. So a rollout without
problems stays Ready (as in KServe: earlier pods serve), and a failed one does not (as in Knative: the desired state is not
reached), while Available still says that earlier pods serve. Autoscaling does not affect Ready.
"""

from __future__ import annotations

from whisper_operator.errors import SpecError
from whisper_operator.status import reasons
from whisper_operator.status.child_issues import invalid_child
from whisper_operator.status.conditions import Condition, Truth, fails
from whisper_operator.status.endpoint_view import EndpointView
from whisper_operator.status.issue import Issue, counted, joined, quoted
from whisper_operator.status.workload import is_rolled_out, no_pods_wanted

VALID = "Valid"
READY = "Ready"


def valid(view: EndpointView, problem: SpecError | None) -> Condition:
    """Whether the spec can be applied. While it cannot, running pods stay as they are."""
    if problem is not None:
        message = joined(quoted(str(problem), limit=900), "Nothing is changed until it is fixed.")
        return fails(VALID, Issue(reason=problem.reason, message=message))
    found = invalid_child(view)
    if found is not None:
        return fails(VALID, found)
    return Condition(type=VALID, status=Truth.TRUE, reason=reasons.VALID, message="The spec can be applied.")


def ready(
    view: EndpointView,
    issues: tuple[Issue, ...],
    *,
    valid: Condition,
    available: Condition,
    exposed: Condition | None,
    url: str,
) -> Condition:
    """In this order: an invalid spec, no desired pods, issues that need a fix, the route, issues that resolve by themselves."""
    off = fails(READY, no_pods_wanted(view)) if view.n_wanted == 0 else None
    stuck = fails(READY, issues[0]) if issues and issues[0].hard else None
    unreachable = exposed if exposed is not None and exposed.status is Truth.FALSE else None
    in_the_way = (valid, off, stuck, unreachable, available, exposed)
    because = next((each for each in in_the_way if each is not None and not each.holds), None)
    if because is not None:
        serving = f"Meanwhile {_count(view, of_old=view.has_old_pods)}." if available.holds else ""
        return fails(READY, Issue(reason=because.reason, message=joined(because.message, serving)))
    at = f" at {url}" if url else ""
    more = "" if is_rolled_out(view) else "Further pods are coming up: see Progressing."
    message = joined(f"{_count(view)}{at}.", more)
    return Condition(type=READY, status=Truth.TRUE, reason=reasons.READY, message=message)


def _count(view: EndpointView, *, of_old: bool = False) -> str:
    verb = "serves" if view.n_ready == 1 else "serve"
    return f"{counted(view.n_ready, view.n_wanted)} {verb}{' with earlier settings' if of_old else ''}"

"""The conditions Valid and Ready. Ready carries what a person must see to first, whichever condition it comes from.

Ready=True: the endpoint is valid, available and exposed, and nothing is wrong that does not pass by itself. So a rollout that
goes well stays Ready (as KServe has it: earlier pods serve), and one that fails does not (as Knative has it: what was asked
for is not there), while Available goes on telling that earlier pods serve. Autoscaling does not hold back Ready.
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
    """Whether the spec can be carried out. Running pods stay as they are while it cannot."""
    if problem is not None:
        message = joined(quoted(str(problem), limit=900), "Nothing is changed until it is mended.")
        return fails(VALID, Issue(reason=problem.reason, message=message))
    found = invalid_child(view)
    if found is not None:
        return fails(VALID, found)
    return Condition(type=VALID, status=Truth.TRUE, reason=reasons.VALID, message="The spec can be carried out.")


def ready(
    view: EndpointView,
    issues: tuple[Issue, ...],
    *,
    valid: Condition,
    available: Condition,
    exposed: Condition | None,
    url: str,
) -> Condition:
    """In this order: an invalid spec, no pods wanted, what somebody must see to, the way in, what passes by itself."""
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

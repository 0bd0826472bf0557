"""The condition DefaultImage: there while an endpoint waits for a new default image of the operator. Pure."""

from __future__ import annotations

from whisper_operator.status import reasons
from whisper_operator.status.conditions import Condition, fails
from whisper_operator.status.endpoint_view import EndpointView
from whisper_operator.status.issue import Issue, command, joined

TYPE = "DefaultImage"


def default_image(view: EndpointView) -> Condition | None:
    """None: the pods run the image that the spec and the operator's settings ask for."""
    hold = view.snapshot.image_hold
    if hold is None:
        return None
    kept = f"Pods keep {hold.kept}, the earlier default image of the operator."
    if not hold.stopped_by:
        turn = f"{hold.wanted} is rolled out to a few endpoints at a time; this one gets it by itself."
        return fails(TYPE, Issue(reason=reasons.IMAGE_WAITING, message=joined(kept, turn)))
    namespace, _, name = hold.stopped_by.partition("/")
    see = command(f"kubectl describe wep -n {namespace} {name}")
    stopped = (
        f"The rollout of {hold.wanted} has stopped, because WhisperEndpoint {hold.stopped_by} does not get ready with it: see {see}."
        " It goes on once that one is ready, is deleted, or has a pod.image of its own."
    )
    return fails(TYPE, Issue(reason=reasons.IMAGE_ROLLOUT_STOPPED, message=joined(stopped, kept)))

"""Missing Secrets, and how to create or complete them. Pure.

Nothing here sees what a Secret holds, only the names of its keys and which of them are empty.
"""

from __future__ import annotations

from collections.abc import Iterator

from whisper_operator.resource.required_secrets import RequiredSecret, pod_secrets, pull_secrets
from whisper_operator.snapshot import Presence, SecretLookup
from whisper_operator.status import reasons
from whisper_operator.status.endpoint_view import EndpointView
from whisper_operator.status.issue import Issue, clipped, command


def secret_issues(view: EndpointView) -> Iterator[Issue]:
    """Missing Secrets of the pods. What could not be looked up is not judged: the node will report it."""
    if view.endpoint is None:
        return
    for required in pod_secrets(view.endpoint):
        yield from issues_of_secret(required, view)
    if not view.all_ready:
        for required in pull_secrets(view.endpoint):
            yield from issues_of_secret(required, view)


def issues_of_secret(required: RequiredSecret, view: EndpointView) -> Iterator[Issue]:
    """What a Secret lacks, and the command that creates or completes it."""
    lookup = view.snapshot.secrets.get(required.name)
    if lookup is None or lookup.satisfies(required):
        return
    is_missing = lookup.presence is Presence.MISSING
    text = (
        f"Secret {required.name} is not there in namespace {view.namespace}"
        if is_missing
        else _defect(required, lookup)
    )
    create = command(f"kubectl create secret {required.make.format(required.name)} -n {view.namespace}")
    edit = command(f"kubectl edit secret {required.name} -n {view.namespace}")
    advice = f"Make it: {create}." if is_missing else f"Add it: {edit}."
    yield Issue(reason=reasons.SECRET_MISSING, message=f"{text} ({required.field}). {advice}")


def _defect(required: RequiredSecret, lookup: SecretLookup) -> str:
    """The defect of an existing Secret."""
    if required.any_key and not lookup.keys_with_value:
        lacks = "has no value in any of its keys" if lookup.keys else "has no keys"
        return f"Secret {required.name} {lacks}, so that no client is let in"
    absent = lookup.absent_keys(required)
    if not absent:
        return f"Key {lookup.empty_keys(required)[0]} of Secret {required.name} has no value"
    there = clipped(", ".join(sorted(lookup.keys)), 200)
    return f"Secret {required.name} has no key {absent[0]}" + (f", only {there}" if there else "")

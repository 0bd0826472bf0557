"""Children that are being deleted: what holds one, and who can let it go. Pure."""

from __future__ import annotations

from whisper_operator import names
from whisper_operator.observed import ChildKey
from whisper_operator.resource.fields import Document
from whisper_operator.status.finding import command, joined
from whisper_operator.status.reading import value
from whisper_operator.status.seen import Seen, is_terminating

_OF_KUBERNETES = frozenset({"foregroundDeletion", "orphan"})
"""The garbage collector takes these off by itself."""


def not_there(kind: str, seen: Seen) -> str:
    """Why there is no child of this kind: it has yet to be made, or an earlier one has yet to go."""
    name = names.child_name(seen.name)
    found = seen.observed.children.get(ChildKey(kind, name))
    if found is None or not is_terminating(found):
        return f"{kind} {name} is not there yet."
    foreign = _foreign_finalizers(found)
    if not foreign:
        return f"{kind} {name} is being deleted: once it is gone, a new one is made."
    off = f'kubectl patch {kind.lower()} -n {seen.namespace} {name} --type=merge -p \'{{"metadata":{{"finalizers":null}}}}\''
    return joined(
        f"{kind} {name} is being deleted; finalizer {foreign[0]} holds it: once it is gone, a new one is made.",
        f"See to the controller that takes the finalizer off, or, if there is none any more, do it: {command(off)}.",
    )


def _foreign_finalizers(document: Document) -> list[str]:
    held_by = value(document, "metadata", "finalizers")
    return [str(each) for each in held_by if each not in _OF_KUBERNETES] if isinstance(held_by, list) else []

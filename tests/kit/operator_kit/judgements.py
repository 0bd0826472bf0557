"""Calls `make_status` in tests: an endpoint, a snapshot, and functions that shorten the status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from operator_kit.endpoints import make_stored_endpoint
from operator_kit.live_objects import NOW, Document
from whisper_operator.errors import SpecError
from whisper_operator.resource.parse import parse_endpoint
from whisper_operator.resource.status import Resolved
from whisper_operator.snapshot import ChildKey, ClusterSnapshot
from whisper_operator.status import make_status

URL = "http://speech.team-a.svc.cluster.local/v1"


RESOLVED = Resolved(
    engine="vllm",
    gpu_class="t4",
    dtype="half",
    kv_cache_dtype="fp16",
    image="registry.example.com/whisper-server:1",
    model_revision="main",
)


def snapshot_of(
    *children: Document, pods: Sequence[Document] = (), served_kinds: frozenset[str] = frozenset(), **more: Any
) -> ClusterSnapshot:
    by_key = {ChildKey(child["kind"], child["metadata"]["name"]): child for child in children}
    return ClusterSnapshot(children=by_key, pods=tuple(pods), served_kinds=served_kinds, **more)


def judged(
    spec: Mapping[str, Any] | None,
    snapshot: ClusterSnapshot,
    *,
    before: Mapping[str, Any] | None = None,
    generation: int = 1,
    problem: SpecError | None = None,
    parsed: bool = True,
    now: datetime = NOW,
) -> Document:
    """The status of the endpoint `speech`; `before` is the one that it had."""
    document = make_stored_endpoint(spec, generation=generation)
    if before is not None:
        document["status"] = dict(before)
    return make_status(
        parse_endpoint(document) if parsed else None,
        problem,
        document=document,
        snapshot=snapshot,
        resolved=RESOLVED if parsed else None,
        url=URL if parsed else "",
        now=now,
    )


def by_type(status: Mapping[str, Any]) -> dict[str, tuple[str, str, str]]:
    """Status, reason and message of each condition."""
    return {one["type"]: (one["status"], one["reason"], one["message"]) for one in status["conditions"]}


def short(status: Mapping[str, Any]) -> dict[str, str]:
    """Each condition as `True Reason`."""
    return {one["type"]: f"{one['status']} {one['reason']}" for one in status["conditions"]}


def message(status: Mapping[str, Any], type_: str = "Ready") -> str:
    return by_type(status)[type_][2]

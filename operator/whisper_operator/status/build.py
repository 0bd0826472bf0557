"""Builds the whole status of a WhisperEndpoint. Pure: the same input gives the same status."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from whisper_operator import names
from whisper_operator.errors import SpecError
from whisper_operator.resource.declared import declared_fields
from whisper_operator.resource.fields import Document
from whisper_operator.resource.spec import Endpoint
from whisper_operator.resource.status import Resolved
from whisper_operator.snapshot import ClusterSnapshot
from whisper_operator.status.accessors import get_int, get_map, get_str
from whisper_operator.status.conditions import as_documents
from whisper_operator.status.default_image import default_image
from whisper_operator.status.endpoint_view import EndpointView
from whisper_operator.status.field_conflicts import synced
from whisper_operator.status.preload import cache_status, preloaded
from whisper_operator.status.readiness import ready, valid
from whisper_operator.status.routes import exposed
from whisper_operator.status.scaling import autoscaling
from whisper_operator.status.scheduling import scheduled
from whisper_operator.status.workload import available, progressing, rolled_out, workload_issues


def make_status(
    endpoint: Endpoint | None,
    problem: SpecError | None,
    *,
    document: Document,
    snapshot: ClusterSnapshot,
    resolved: Resolved | None,
    url: str,
    now: datetime,
) -> dict[str, Any]:
    """The status to write.

    `document` is the WhisperEndpoint as the API server has it, with its previous status; `endpoint` is None if the spec could
    not be parsed. A condition keeps its lastTransitionTime while its status is the same. Apart from that only the age of
    pods and of FailedMount events depends on `now`.
    """
    before = get_map(document, "status")
    view = EndpointView(document=document, endpoint=endpoint, snapshot=snapshot, now=now)
    address = url or get_str(before, "url")
    is_valid = valid(view, problem)
    issues = workload_issues(view, is_valid)
    is_available, is_exposed = available(view, issues), exposed(view)
    is_ready = ready(view, issues, valid=is_valid, available=is_available, exposed=is_exposed, url=address)
    optional = (is_exposed, autoscaling(view), default_image(view), preloaded(view), synced(view))
    is_progressing = progressing(view, issues)
    is_rolled_out = rolled_out(view, valid=is_valid, progressing=is_progressing)
    conditions = (is_ready, is_available, is_progressing, is_rolled_out, scheduled(view), is_valid)
    present = (*conditions, *(condition for condition in optional if condition is not None))
    generation = get_int(document, "metadata", "generation")
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "replicas": get_int(view.deployment_status, "replicas"),
        "readyReplicas": view.n_ready,
        "selector": names.selector_text(view.name),
        "conditions": as_documents(present, previous=view.previous, generation=generation, now=now),
    }
    resolution = _resolution(resolved) or get_map(before, "resolved")
    cached = cache_status(view)
    status |= {"cache": cached} if cached else {}
    return status | ({"url": address} if address else {}) | ({"resolved": dict(resolution)} if resolution else {})


def _resolution(resolved: Resolved | None) -> dict[str, str]:
    if resolved is None:
        return {}
    return {field.name: str(getattr(resolved, field.attribute)) for field in declared_fields(Resolved)}

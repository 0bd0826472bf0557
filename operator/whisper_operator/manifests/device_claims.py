"""A GPU by dynamic resource allocation: a ResourceClaimTemplate, and the claim of each pod that is made from it.

A template cannot be changed, so its name has a hash of what it asks for: a change makes a new one, and with it a rollout.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from whisper_operator import names
from whisper_operator.errors import SpecError
from whisper_operator.gpus import device_selectors
from whisper_operator.kinds import CLAIM_TEMPLATE
from whisper_operator.manifests.documents import metadata
from whisper_operator.resource.spec import Endpoint

REQUEST = "gpu"
"""Name of the claim in the pod, and of the request in the claim."""


def make_claim_template(endpoint: Endpoint, served_kinds: frozenset[str]) -> dict[str, Any] | None:
    """The template, if the spec names a DeviceClass. Raises SpecError where the cluster has no such kind."""
    if not endpoint.spec.gpu.device_class_name:
        return None
    if CLAIM_TEMPLATE.kind not in served_kinds:
        raise SpecError(
            "gpu.deviceClassName",
            f"the cluster does not serve {CLAIM_TEMPLATE.api_version}, which Kubernetes 1.34 and later have: leave it out, and"
            " each pod requests gpu.resourceName",
        )
    spec = _claim_spec(endpoint)
    return {
        "apiVersion": CLAIM_TEMPLATE.api_version,
        "kind": CLAIM_TEMPLATE.kind,
        "metadata": metadata(endpoint, name=_template_name(endpoint, spec)),
        "spec": {"metadata": _claim_metadata(endpoint), "spec": spec},
    }


def pod_claims(endpoint: Endpoint) -> list[dict[str, str]]:
    """`resourceClaims` of the pod."""
    if not endpoint.spec.gpu.device_class_name:
        return []
    return [{"name": REQUEST, "resourceClaimTemplateName": _template_name(endpoint, _claim_spec(endpoint))}]


def _claim_spec(endpoint: Endpoint) -> dict[str, Any]:
    gpu = endpoint.spec.gpu
    selectors = [{"cel": {"expression": each}} for each in device_selectors(gpu, endpoint.spec.engine)]
    exactly = {"deviceClassName": gpu.device_class_name, "allocationMode": "ExactCount", "count": 1}
    return {"devices": {"requests": [{"name": REQUEST, "exactly": {**exactly, "selectors": selectors}}]}}


def _claim_metadata(endpoint: Endpoint) -> dict[str, Any]:
    """Of the claims: a policy that wants a label of each object refuses pods whose claims lack it."""
    found = metadata(endpoint)
    return {name: found[name] for name in ("labels", "annotations") if name in found}


def _template_name(endpoint: Endpoint, spec: dict[str, Any]) -> str:
    common = [dict(part) for part in (endpoint.spec.common_labels, endpoint.spec.common_annotations) if part]
    asked = [spec, *common] if common else spec
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:8]
    return f"{names.child_name(endpoint.name)}-{REQUEST}-{digest}"

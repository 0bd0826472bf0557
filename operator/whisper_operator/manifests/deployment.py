"""The Deployment: the number of pods and how they are replaced. Their template is in `pods`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from whisper_operator import names
from whisper_operator.errors import SpecError
from whisper_operator.manifests import pinned_template
from whisper_operator.manifests.default_image import image_annotations
from whisper_operator.manifests.documents import metadata, pod_selector
from whisper_operator.manifests.pods import grace_period_s, make_pod_template
from whisper_operator.manifests.preload import is_preloaded, preload_key
from whisper_operator.manifests.resolved import uses_gpu
from whisper_operator.manifests.volumes import may_be_held_by_one_node
from whisper_operator.resource.fields import Document, IntOrPercent
from whisper_operator.resource.spec import Endpoint
from whisper_operator.settings import Settings

PULL_MARGIN_S = 600
"""Time to pull the image, before the pod's startup time begins."""


def make_deployment(
    endpoint: Endpoint,
    settings: Settings,
    deployed: Document | None,
    *,
    jobs: Sequence[Document] = (),
    in_turn: bool = False,
) -> dict[str, Any]:
    """The Deployment. `replicas` is always the spec's, so scaling is done on the endpoint.

    `deployed` is the current one; its pod template is kept while the settings of the pods are the same. `in_turn`: it gets
    a new default image in a staged rollout.
    """
    digest = pinned_template.settings_hash(endpoint, settings)
    written = make_pod_template(endpoint, settings, digest)
    template = pinned_template.template_of(deployed, written) or written
    packed = pinned_template.as_text(template)
    remembered = {names.TEMPLATE_ANNOTATION: packed} if packed else {}
    if preload_key(endpoint) and is_preloaded(endpoint, deployed, jobs):
        remembered[names.PRELOADED_ANNOTATION] = preload_key(endpoint)
    remembered |= image_annotations(endpoint, settings, deployed, in_turn=in_turn)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(endpoint, annotations=remembered),
        "spec": {
            "replicas": 0 if endpoint.spec.suspend else endpoint.spec.replicas,
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": progress_deadline_s(endpoint),
            "strategy": {"type": "RollingUpdate", "rollingUpdate": _rolling_update(endpoint)},
            "selector": pod_selector(endpoint),
            "template": template,
        },
    }


def progress_deadline_s(endpoint: Endpoint) -> int:
    """A new pod may wait until an old one has released its GPU, then pulls its image, then starts."""
    return grace_period_s(endpoint) + PULL_MARGIN_S + endpoint.spec.rollout.startup_seconds


def _rolling_update(endpoint: Endpoint) -> dict[str, IntOrPercent]:
    """Without a spare GPU, or with a volume for one node at a time, the old pod must end first."""
    rollout = endpoint.spec.rollout
    old_goes_first = uses_gpu(endpoint) or may_be_held_by_one_node(endpoint)
    surge, unavailable = rollout.max_surge, rollout.max_unavailable
    if surge is None:
        surge = 0 if old_goes_first and not _is_zero(unavailable) else 1
    if unavailable is None:
        unavailable = 1 if old_goes_first or _is_zero(surge) else 0
    if _is_zero(surge) and _is_zero(unavailable):
        raise SpecError("rollout", "maxSurge and maxUnavailable cannot both be 0: no pod could ever be replaced")
    return {"maxSurge": surge, "maxUnavailable": unavailable}


def _is_zero(amount: IntOrPercent | None) -> bool:
    return amount is not None and not str(amount).removesuffix("%").strip("0")

"""Whether an endpoint's pods run an earlier default image of the operator, and settings that keep it. Pure.

When the default changes, `reconcile.image_rollout` decides which endpoints get it now. The others keep what they run.
"""

from __future__ import annotations

import dataclasses

from whisper_operator import names
from whisper_operator.manifests.pinned_template import settings_hash
from whisper_operator.manifests.resolved import image_of
from whisper_operator.resource.fields import Document
from whisper_operator.resource.spec import Endpoint
from whisper_operator.settings import Settings


def earlier_default(endpoint: Endpoint, settings: Settings, deployed: Document | None) -> str:
    """The image of the Deployment, if the operator's default is all that has changed since; else empty.

    A spec that has changed, too, gets the new image with its change: its pods restart anyway.
    """
    if deployed is None or endpoint.spec.pod.image:
        return ""
    annotations = deployed["metadata"].get("annotations") or {}
    image = image_in(deployed)
    if not image or image == image_of(endpoint, settings) or names.OWN_IMAGE_ANNOTATION in annotations:
        return ""
    template = (deployed.get("spec") or {}).get("template") or {}
    digest = (template.get("metadata", {}).get("annotations") or {}).get(names.SETTINGS_HASH_ANNOTATION)
    return image if settings_hash(endpoint, keeping(settings, image)) == digest else ""


def keeping(settings: Settings, image: str) -> Settings:
    """The settings with this image as the default."""
    return dataclasses.replace(settings, server_image_gpu=image, server_image_cpu=image)


def image_in(deployed: Document) -> str:
    """The image of the server in a Deployment; empty if there is none."""
    containers = ((deployed.get("spec") or {}).get("template") or {}).get("spec", {}).get("containers") or ()
    return next((str(one.get("image", "")) for one in containers if one.get("name") == names.CONTAINER), "")


def staged_image(deployed: Document | None) -> str:
    """The default image that a Deployment got in its turn; empty: it got none so."""
    annotations = ((deployed or {}).get("metadata") or {}).get("annotations") or {}
    return str(annotations.get(names.STAGED_IMAGE_ANNOTATION, ""))


def image_annotations(
    endpoint: Endpoint, settings: Settings, deployed: Document | None, *, in_turn: bool
) -> dict[str, str]:
    """Of the Deployment: where its image comes from."""
    if endpoint.spec.pod.image:
        return {names.OWN_IMAGE_ANNOTATION: "true"}
    image = image_of(endpoint, settings)
    is_under_way = deployed is not None and staged_image(deployed) == image and not has_rolled_out(deployed)
    return {names.STAGED_IMAGE_ANNOTATION: image} if in_turn or is_under_way else {}


def has_rolled_out(deployed: Document) -> bool:
    """As `kubectl rollout status` decides it."""
    status, n_wanted = deployed.get("status") or {}, deployed["spec"].get("replicas", 1)
    counts = {status.get(name, 0) for name in ("updatedReplicas", "replicas", "availableReplicas")}
    return status.get("observedGeneration", 0) >= deployed["metadata"].get("generation", 0) and counts == {n_wanted}

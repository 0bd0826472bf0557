"""The pinned template: while their settings are the same, pods keep the template that they were started with.

A newer operator may write another template for the same settings, for example with a better probe. Its upgrade does not
restart the pods: an annotation of the Deployment holds the template and a hash of its settings. Edits by hand are not
kept: those of the Deployment are reverted, and an annotation that differs from what the operator would write in more
than `pinned_fields` allows is not used.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import json
import zlib
from typing import Any

from whisper_operator import names
from whisper_operator.manifests.documents import from_registry, plain
from whisper_operator.manifests.pinned_fields import compared_part
from whisper_operator.manifests.resolved import image_of
from whisper_operator.manifests.routes import root_path
from whisper_operator.manifests.volumes import claim_name
from whisper_operator.resource.access import NetworkPolicy, Service
from whisper_operator.resource.fields import Document
from whisper_operator.resource.pod import Cache, DisruptionBudget, EmptyDir
from whisper_operator.resource.spec import Endpoint, Spec
from whisper_operator.settings import Settings

REVISION = 1
"""Increment it if a change of the template must reach running pods: this restarts all of them."""
MAX_TEMPLATE_BYTES = 1024 * 1024
"""Of an unpacked template. Otherwise a user who may write Deployments could exhaust the operator's memory (zip bomb)."""

MAX_PACKED_CHARS = 128 * 1024
"""Of the annotation. All annotations of an object share 256 KiB, and some belong to users."""


def settings_hash(endpoint: Endpoint, settings: Settings) -> str:
    """Hash of the settings that affect the pods. Defaults are left out, so that new fields do not change the hash."""
    cache = endpoint.spec.cache
    registry = settings.defaults.image_registry
    relevant = {
        "revision": REVISION,
        "image": image_of(endpoint, settings),
        "modelImage": from_registry(cache.image.reference, registry) if cache and cache.image else "",
        "claim": claim_name(endpoint),
        "rootPath": root_path(endpoint),
        "spec": _chosen(_of_pods(endpoint.spec)),
        "defaults": _chosen(dataclasses.replace(settings.defaults, image_registry="")),
    }
    text = json.dumps(relevant, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def as_text(template: Document) -> str:
    """The annotation's text; empty if it is too long, as with very large values in `pod.env`.

    Such a template is not pinned: an upgrade of the operator that writes another one restarts the pods.
    """
    text = json.dumps(template, sort_keys=True, separators=(",", ":"))
    packed = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    return packed if len(packed) <= MAX_PACKED_CHARS else ""


def template_of(deployed: Document | None, written: Document) -> dict[str, Any] | None:
    """The pinned template of a Deployment, if it is for the settings of `written` and gives pods the same rights.

    `written` is the template that this operator writes for them.
    """
    annotations = ((deployed or {}).get("metadata") or {}).get("annotations") or {}
    try:
        packed = base64.b64decode(annotations[names.TEMPLATE_ANNOTATION], validate=True)
        template = json.loads(zlib.decompressobj().decompress(packed, MAX_TEMPLATE_BYTES))
        # The hash of the settings is compared with it: it is an annotation of the template.
        is_trusted = compared_part(template) == compared_part(written)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError, binascii.Error, zlib.error):
        return None  # there is none, or somebody has overwritten it
    return dict(template) if is_trusted else None


def _of_pods(spec: Spec) -> Spec:
    """The spec without fields that do not reach the pods, or that the hash holds in another form."""
    cache = spec.cache or Cache()
    folder = None if cache.empty_dir == EmptyDir() else cache.empty_dir
    return dataclasses.replace(
        spec,
        replicas=0,
        autoscaling=None,
        suspend=False,
        service=Service(),
        exposure=None,
        disruption_budget=DisruptionBudget(),
        access=dataclasses.replace(
            spec.access, network_policy=NetworkPolicy(), web_page=False if spec.access.web_page is False else None
        ),
        rollout=dataclasses.replace(spec.rollout, max_surge=None, max_unavailable=None),
        cache=Cache(empty_dir=folder, image=cache.image),
        pod=dataclasses.replace(spec.pod, image=None),
    )


def _chosen(value: Any) -> Any:
    """Values that differ from their defaults, as JSON."""
    if isinstance(value, tuple):
        return [_chosen(each) for each in value]
    if not dataclasses.is_dataclass(value):
        return plain(value)
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    defaults = {field.name: _default(field) for field in dataclasses.fields(value)}
    return {name: _chosen(each) for name, each in fields.items() if each != defaults[name]}


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()

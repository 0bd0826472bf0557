"""What the settings of the operator allow the author of an endpoint: registries of images, keys of annotations.

Only what the spec itself holds is checked, not what the operator or the chart's defaults add. Pure.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Sequence

from whisper_operator.errors import SpecError
from whisper_operator.manifests.documents import from_registry, names_a_registry
from whisper_operator.resource.access import Exposure, Ingress
from whisper_operator.resource.pod import Cache
from whisper_operator.resource.spec import Endpoint
from whisper_operator.settings import Settings

NOT_ALLOWED = "NotAllowed"
DOCKER_HUB = "docker.io"
OCI = "oci://"


def check_cluster_policy(endpoint: Endpoint, settings: Settings) -> None:
    """Raises SpecError for the first field that is not allowed."""
    if settings.allowed_image_registries:
        for path, image in _images(endpoint):
            _check_image(path, from_registry(image, settings.defaults.image_registry), settings)
        _check_model(endpoint.spec.model.id, settings.allowed_image_registries)
    for path, key in _annotation_keys(endpoint):
        _check_annotation(path, key, settings.refused_annotations)


def _images(endpoint: Endpoint) -> Iterator[tuple[str, str]]:
    if endpoint.spec.pod.image:
        yield "pod.image", endpoint.spec.pod.image
    for field, containers in (
        ("initContainers", endpoint.spec.pod.init_containers),
        ("sidecars", endpoint.spec.pod.sidecars),
    ):
        yield from ((f"pod.{field}[{number}].image", each["image"]) for number, each in enumerate(containers))
    models = (endpoint.spec.cache or Cache()).image
    if models:
        yield "cache.image.reference", models.reference


def _annotation_keys(endpoint: Endpoint) -> Iterator[tuple[str, str]]:
    ingress = (endpoint.spec.exposure or Exposure()).ingress or Ingress()
    for path, written in (
        ("exposure.ingress.annotations", ingress.annotations),
        ("service.annotations", endpoint.spec.service.annotations),
        ("commonAnnotations", endpoint.spec.common_annotations),
        ("pod.annotations", endpoint.spec.pod.annotations),
    ):
        yield from ((path, key) for key in written)


def _check_image(path: str, image: str, settings: Settings) -> None:
    allowed = settings.allowed_image_registries
    if _is_in(repository_of(image), allowed):
        return
    raise SpecError(
        path,
        f"{image} is not from a registry that this cluster allows: write an image from {' or '.join(allowed)}, leave the"
        " field out, or have the registry added to policy.allowedImageRegistries of the operator's chart"
        " (ALLOWED_IMAGE_REGISTRIES)",
        NOT_ALLOWED,
    )


def _check_model(model_id: str, allowed: Sequence[str]) -> None:
    """An address names its registry always: `oci://models/a` is no repository of Docker Hub."""
    if not model_id.startswith(OCI):
        return
    folder, _, last = model_id.removeprefix(OCI).partition("@")[0].rpartition("/")
    if not _is_in(f"{folder}/{last.partition(':')[0]}", allowed):
        raise SpecError(
            "model.id",
            f"{model_id} is not in a registry that this cluster allows: write an address in {' or '.join(allowed)}, or have"
            " the registry added to policy.allowedImageRegistries of the operator's chart (ALLOWED_IMAGE_REGISTRIES)",
            NOT_ALLOWED,
        )


def _is_in(repository: str, allowed: Iterable[str]) -> bool:
    return any(repository == one or repository.startswith(f"{one}/") for one in allowed)


def _check_annotation(path: str, key: str, refused: Iterable[str]) -> None:
    pattern = next((one for one in refused if fnmatch.fnmatchcase(key, one)), None)
    if pattern is not None:
        raise SpecError(
            f"{path}[{key}]",
            f"this cluster refuses annotations like {pattern}: leave it out, or have the pattern removed from"
            " policy.refusedAnnotations of the operator's chart (REFUSED_ANNOTATIONS)",
            NOT_ALLOWED,
        )


def repository_of(image: str) -> str:
    """Registry and repository, without tag and digest, as container runtimes complete it: `busybox:1` is docker.io/library/busybox."""
    name = image.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    name = folder + slash + last.partition(":")[0]
    if not names_a_registry(name):
        return f"{DOCKER_HUB}/{name if slash else f'library/{name}'}"
    host, _, path = name.partition("/")
    if host in (DOCKER_HUB, f"index.{DOCKER_HUB}"):
        return f"{DOCKER_HUB}/{path if '/' in path else f'library/{path}'}"
    return name

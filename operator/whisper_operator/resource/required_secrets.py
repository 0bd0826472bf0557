"""The Secrets that a spec names, and the keys that each must have. Pure; what a status says of a missing one is in `status`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from whisper_operator.resource.fields import Document
from whisper_operator.resource.spec import Endpoint

DOCKER_KEY = ".dockerconfigjson"
S3_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
S3_TOKEN = "AWS_SESSION_TOKEN"  # noqa: S105 - the name of a key, which a Secret may lack
MAKE_PULL_SECRET = "docker-registry {} --docker-server=… --docker-username=… --docker-password=…"  # noqa: S105 - how to make one


@dataclasses.dataclass(frozen=True, kw_only=True)
class RequiredSecret:
    """A Secret that the spec names."""

    field: str
    name: str
    keys: tuple[str, ...] = ()
    """Keys that it must have."""
    any_key: bool = False
    """It must have at least one key with a value; the name of the key does not matter."""
    may_be_empty: bool = False
    make: str
    """Arguments of `kubectl create secret`; {} is the Secret's name."""


def pod_secrets(endpoint: Endpoint) -> Iterator[RequiredSecret]:
    """Secrets without which no pod starts, or no client is let in."""
    spec = endpoint.spec
    if token := spec.model.token_secret_ref:
        make = f"generic {{}} --from-literal={token.key}=hf_…"
        yield RequiredSecret(field="model.tokenSecretRef", name=token.name, keys=(token.key,), make=make)
    if pull := spec.model.pull_secret_ref:
        yield RequiredSecret(field="model.pullSecretRef", name=pull.name, keys=(DOCKER_KEY,), make=MAKE_PULL_SECRET)
    if spec.model.s3 and (key := spec.model.s3.credentials_secret_ref):
        make = f"generic {{}} {' '.join(f'--from-literal={name}=…' for name in S3_KEYS)}"
        yield RequiredSecret(field="model.s3.credentialsSecretRef", name=key.name, keys=S3_KEYS, make=make)
    if api_keys := spec.access.api_keys_secret_ref:
        make = "generic {} --from-literal=CLIENT=KEY"
        yield RequiredSecret(field="access.apiKeysSecretRef", name=api_keys.name, any_key=True, make=make)
    yield from _of_variables("pod.env", spec.pod.env)
    for field, containers in (("pod.initContainers", spec.pod.init_containers), ("pod.sidecars", spec.pod.sidecars)):
        for index, container in enumerate(containers):
            yield from _of_variables(f"{field}[{index}].env", container.get("env") or ())
    for index, volume in enumerate(spec.pod.volumes):
        secret = volume.get("secret") or {}
        if secret.get("secretName") and not secret.get("optional"):
            keys = tuple(str(each.get("key", "")) for each in secret.get("items") or ())
            make = "generic {} --from-file=…"
            yield RequiredSecret(
                field=f"pod.volumes[{index}]", name=str(secret["secretName"]), keys=keys, may_be_empty=True, make=make
            )


def _of_variables(path: str, variables: Iterable[Document]) -> Iterator[RequiredSecret]:
    for index, variable in enumerate(variables):
        ref = (variable.get("valueFrom") or {}).get("secretKeyRef") or {}
        if ref.get("name") and not ref.get("optional"):
            key = str(ref.get("key", ""))
            make = f"generic {{}} --from-literal={key}=…"
            yield RequiredSecret(
                field=f"{path}[{index}]", name=str(ref["name"]), keys=(key,), may_be_empty=True, make=make
            )


def pull_secrets(endpoint: Endpoint) -> Iterator[RequiredSecret]:
    """Secrets to pull the image with. A node does not need them if it has the image already, or if the image is public."""
    for index, reference in enumerate(endpoint.spec.pod.image_pull_secrets):
        yield RequiredSecret(field=f"pod.imagePullSecrets[{index}]", name=reference.name, make=MAKE_PULL_SECRET)


def route_secrets(endpoint: Endpoint) -> Iterator[RequiredSecret]:
    """Secrets that the Ingress needs."""
    ingress = endpoint.spec.exposure.ingress if endpoint.spec.exposure else None
    if ingress and ingress.tls:
        make = "tls {} --cert=… --key=…"
        yield RequiredSecret(
            field="exposure.ingress.tls.secretName",
            name=ingress.tls.secret_name,
            keys=("tls.crt", "tls.key"),
            make=make,
        )

"""The Secrets that a spec names: which there must be, with which keys, and what is said where one is missing. Pure.

Nothing here sees what a Secret holds, only the names of its keys.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from whisper_operator.observed import Found, SecretLookup
from whisper_operator.resource.spec import Endpoint
from whisper_operator.status import reasons
from whisper_operator.status.finding import Finding, clipped, command
from whisper_operator.status.seen import Seen


@dataclasses.dataclass(frozen=True, kw_only=True)
class Need:
    """A Secret that the spec names."""

    field: str
    name: str
    keys: tuple[str, ...] = ()
    """That it must have."""
    any_key: bool = False
    """It must have at least one, whatever its name."""
    make: str
    """Arguments of `kubectl create secret`; {} is the Secret's name."""


def needs_of_pods(endpoint: Endpoint) -> Iterator[Need]:
    """Secrets without which no pod starts, or none serves anybody."""
    spec = endpoint.spec
    if token := spec.model.token_secret_ref:
        make = f"generic {{}} --from-literal={token.key}=hf_…"
        yield Need(field="model.tokenSecretRef", name=token.name, keys=(token.key,), make=make)
    if api_keys := spec.access.api_keys_secret_ref:
        make = "generic {} --from-literal=CLIENT=KEY"
        yield Need(field="access.apiKeysSecretRef", name=api_keys.name, any_key=True, make=make)
    for index, variable in enumerate(spec.pod.env):
        ref = (variable.get("valueFrom") or {}).get("secretKeyRef") or {}
        if ref.get("name") and not ref.get("optional"):
            key = str(ref.get("key", ""))
            make = f"generic {{}} --from-literal={key}=…"
            yield Need(field=f"pod.env[{index}]", name=str(ref["name"]), keys=(key,), make=make)


def needs_of_pulls(endpoint: Endpoint) -> Iterator[Need]:
    """Secrets to pull the image with. A node does without them where the image is there already, or public."""
    for index, reference in enumerate(endpoint.spec.pod.image_pull_secrets):
        make = "docker-registry {} --docker-server=… --docker-username=… --docker-password=…"
        yield Need(field=f"pod.imagePullSecrets[{index}]", name=reference.name, make=make)


def needs_of_route(endpoint: Endpoint) -> Iterator[Need]:
    """Secrets of the way in."""
    ingress = endpoint.spec.exposure.ingress if endpoint.spec.exposure else None
    if ingress and ingress.tls:
        make = "tls {} --cert=… --key=…"
        yield Need(
            field="exposure.ingress.tls.secretName",
            name=ingress.tls.secret_name,
            keys=("tls.crt", "tls.key"),
            make=make,
        )


def secret_findings(seen: Seen) -> Iterator[Finding]:
    """Missing Secrets of the pods. What could not be looked up is not judged: the node will say it."""
    if seen.endpoint is None:
        return
    for need in needs_of_pods(seen.endpoint):
        yield from judge(need, seen)
    if not seen.all_ready:
        for need in needs_of_pulls(seen.endpoint):
            yield from judge(need, seen)


def judge(need: Need, seen: Seen) -> Iterator[Finding]:
    """What a Secret lacks, and how to make or mend it. One that could not be looked up is not judged."""
    lookup = seen.observed.secrets.get(need.name)
    missing = what_is_missing(need, lookup) if lookup else ""
    if lookup and missing:
        text = f"{missing} in namespace {seen.namespace}" if lookup.found is Found.MISSING else missing
        create = command(f"kubectl create secret {need.make.format(need.name)} -n {seen.namespace}")
        edit = command(f"kubectl edit secret {need.name} -n {seen.namespace}")
        advice = f"Make it: {create}." if lookup.found is Found.MISSING else f"Add it: {edit}."
        yield Finding(reason=reasons.SECRET_MISSING, message=f"{text} ({need.field}). {advice}")


def what_is_missing(need: Need, lookup: SecretLookup) -> str:
    """In words; empty where nothing is, or nobody may look."""
    if lookup.found is not Found.PRESENT:
        return f"Secret {need.name} is not there" if lookup.found is Found.MISSING else ""
    if need.any_key and not lookup.keys:
        return f"Secret {need.name} has no keys, so that no client is let in"
    absent = [key for key in need.keys if key not in lookup.keys]
    if not absent:
        return ""
    there = clipped(", ".join(sorted(lookup.keys)), 200)
    return (
        f"Secret {need.name} has no key {absent[0]}, only {there}"
        if there
        else f"Secret {need.name} has no key {absent[0]}"
    )

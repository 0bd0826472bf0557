"""Rules about the fields of the pods, in CEL; see `rules`. Data only.

Some repeat checks that the API server makes for pods: as a refusal of the endpoint, the user sees them at once.
"""

from __future__ import annotations

from whisper_operator import names
from whisper_operator.resource.embedded import requirement_paths
from whisper_operator.resource.fields import IMAGE_REFERENCE, LABEL_KEY
from whisper_operator.resource.reserved import RESERVED_ENV, RESERVED_LABELS
from whisper_operator.resource.rule import Rule

_OURS = f"startsWith('{names.GROUP}/')"


def _words(words: tuple[str, ...]) -> str:
    return "[" + ", ".join(f"'{word}'" for word in words) + "]"


def _advice() -> str:
    """A CEL map: variable → what to write instead."""
    advice = {name: f"write {field} instead" if field else "leave it out" for name, field in RESERVED_ENV.items()}
    return "{" + ", ".join(f"'{name}': '{text}'" for name, text in advice.items()) + "}"


def _keys_of(at: str) -> Rule:
    return Rule(
        at=at,
        rule=f"self.all(key, key.matches(r'{LABEL_KEY['pattern']}'))",
        message="write keys such as team or example.com/team: at most 63 letters, digits, dashes, dots and underscores, after a domain and a slash or without one",
    )


def _requirements_of(at: str, type_name: str) -> tuple[Rule, ...]:
    return tuple(
        Rule(
            at=f"{at}.{path}",
            field="values",
            rule=(
                "self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0"
                " : self.operator in ['Gt', 'Lt'] ? has(self.values) && self.values.size() == 1"
                " && self.values[0].matches('^[0-9]+$') : !has(self.values) || self.values.size() == 0"
            ),
            message="write at least one with operator In or NotIn, one whole number with Gt or Lt, and leave values out with Exists and DoesNotExist",
        )
        for path in requirement_paths(type_name)
    )


def env_rules(at: str) -> tuple[Rule, ...]:
    """Of a container's variable."""
    return (
        Rule(
            at=at,
            rule="!has(self.valueFrom) || !has(self.value) || self.value == ''",
            message="write either value or valueFrom",
        ),
        Rule(
            at=f"{at}.valueFrom",
            rule="[has(self.configMapKeyRef), has(self.fieldRef), has(self.resourceFieldRef), has(self.secretKeyRef)].filter(one, one).size() == 1",
            message="write exactly one of configMapKeyRef, fieldRef, resourceFieldRef and secretKeyRef",
        ),
    )


def resource_rules(at: str) -> tuple[Rule, ...]:
    """Of a container's requests and limits."""
    return (
        *(
            Rule(
                at=f"{at}.{kind}",
                rule="self.all(key, key in ['cpu', 'memory', 'ephemeral-storage'] || key.startsWith('hugepages-') || key.contains('/'))",
                message="write cpu, memory, ephemeral-storage, or the full name of an extended resource such as example.com/device",
            )
            for kind in ("limits", "requests")
        ),
        Rule(
            at=f"{at}.limits",
            rule="self.all(key, !key.contains('/') || quantity(string(self[key])).isInteger())",
            message="write a whole number of an extended resource",
        ),
        Rule(
            at=at,
            field="requests",
            rule="!has(self.requests) || self.requests.all(key, !key.contains('/') || (has(self.limits) && key in self.limits && quantity(string(self.requests[key])).compareTo(quantity(string(self.limits[key]))) == 0))",
            message="write as many of an extended resource as limits has, or write it in limits only",
        ),
        Rule(
            at=at,
            field="requests",
            rule="!has(self.requests) || !has(self.limits) || self.requests.all(key, !(key in self.limits) || quantity(string(self.requests[key])).compareTo(quantity(string(self.limits[key]))) <= 0)",
            message="write no more than limits has of the same resource",
        ),
    )


_AFFINITY_TERMS = tuple(
    f"spec.pod.affinity.{kind}.{term}"
    for kind in ("podAffinity", "podAntiAffinity")
    for term in (
        "requiredDuringSchedulingIgnoredDuringExecution[]",
        "preferredDuringSchedulingIgnoredDuringExecution[].podAffinityTerm",
    )
)

_IN_LOWER_CASE = r"^([^/]*[.:][^/]*/|localhost/)?[^A-Z:@]+(:[^/]*)?(@.*)?$"
"""A first part with a dot or a port is a registry's host, which may have capital letters; a tag may, too."""

_IMAGES = tuple(
    Rule(
        at=at,
        field=field,
        rule=f"!has(self.{field}) || self.{field}.matches(r'{pattern}')",
        message=message,
    )
    for pattern, message in (
        (
            _IN_LOWER_CASE,
            "a repository has no capital letters: write it in lower case, such as registry.example.com/team/whisper-server:1",
        ),
        (
            IMAGE_REFERENCE,
            "write registry/repository:tag without https:// and without empty parts, such as registry.example.com/team/whisper-server:1",
        ),
    )
    for at, field in (
        ("spec.pod", "image"),
        ("spec.cache.image", "reference"),
        ("spec.pod.initContainers[]", "image"),
        ("spec.pod.sidecars[]", "image"),
    )
)

POD_RULES: tuple[Rule, ...] = (
    *_IMAGES,
    Rule(
        at="spec.pod.env[].name",
        rule=f"!(self in {_words(tuple(RESERVED_ENV))})",
        message="the operator sets it: write the field of the spec that is for it instead",
        message_expression=f"'the operator sets it: ' + {_advice()}[self]",
    ),
    *env_rules("spec.pod.env[]"),
    *(
        Rule(
            at=at,
            rule=f"self.all(key, !(key in {_words(RESERVED_LABELS)}) && !key.{_OURS})",
            message=f"leave out {', '.join(RESERVED_LABELS)} and all of {names.GROUP}/: the operator sets them",
        )
        for at in ("spec.pod.labels", "spec.commonLabels")
    ),
    *(
        Rule(
            at=at,
            rule=f"self.all(key, !key.{_OURS})",
            message=f"leave out all of {names.GROUP}/: the operator sets them",
        )
        for at in ("spec.pod.annotations", "spec.commonAnnotations")
    ),
    _keys_of("spec.commonLabels"),
    _keys_of("spec.commonAnnotations"),
    _keys_of("spec.pod.labels"),
    _keys_of("spec.pod.annotations"),
    _keys_of("spec.pod.nodeSelector"),
    _keys_of("spec.service.annotations"),
    _keys_of("spec.exposure.ingress.annotations"),
    Rule(
        at="spec.pod.tolerations[]",
        rule="(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')",
        message="write the key of a taint, or operator Exists for all taints",
    ),
    Rule(
        at="spec.pod.tolerations[]",
        field="value",
        rule="!has(self.value) || self.value == '' || !has(self.operator) || self.operator != 'Exists'",
        message="operator Exists takes any value: leave value out, or write operator Equal",
    ),
    Rule(
        at="spec.pod.tolerations[]",
        field="tolerationSeconds",
        rule="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
        message="it goes with effect NoExecute only: write that, or leave tolerationSeconds out",
    ),
    Rule(
        at="spec.pod.topologySpreadConstraints[]",
        field="minDomains",
        rule="!has(self.minDomains) || self.whenUnsatisfiable == 'DoNotSchedule'",
        message="it goes with whenUnsatisfiable DoNotSchedule only: write that, or leave minDomains out",
    ),
    *(
        Rule(
            at=at,
            field="labelSelector",
            rule="has(self.labelSelector) || !((has(self.matchLabelKeys) && self.matchLabelKeys.size() > 0) || (has(self.mismatchLabelKeys) && self.mismatchLabelKeys.size() > 0))",
            message="matchLabelKeys and mismatchLabelKeys narrow it further: write it, or leave them out",
        )
        for at in _AFFINITY_TERMS
    ),
    *_requirements_of("spec.pod.affinity", "io.k8s.api.core.v1.Affinity"),
    *_requirements_of("spec.pod.topologySpreadConstraints[]", "io.k8s.api.core.v1.TopologySpreadConstraint"),
    *_requirements_of("spec.access.networkPolicy.from[]", "io.k8s.api.networking.v1.NetworkPolicyPeer"),
    *_requirements_of("spec.access.networkPolicy.to[]", "io.k8s.api.networking.v1.NetworkPolicyPeer"),
    *resource_rules("spec.pod.resources"),
    Rule(
        at="spec",
        field="pod.resources",
        rule="!has(self.pod.resources) || !((has(self.pod.resources.limits) && self.gpu.resourceName in self.pod.resources.limits) || (has(self.pod.resources.requests) && self.gpu.resourceName in self.pod.resources.requests))",
        message="leave out the GPU: the operator adds one of gpu.resourceName to each pod, and gpu.class none asks for none",
    ),
)

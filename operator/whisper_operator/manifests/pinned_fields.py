"""What a remembered pod template may decide: only what the author of an endpoint may set at will, and what runs no code.

The annotation that holds it can be edited by everybody who may write Deployments in the namespace, and the operator
applies it with its own rights. So each field must be what the operator would write itself, except the few here, which
newer operators write differently: the timing of probes, CPU and memory, node affinity and the tolerations of GPU nodes
(both lists grow), numbers for the server. A field that is not named here is compared, also one that Kubernetes adds later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from whisper_operator.manifests.placement import ON_GPU_NODES
from whisper_operator.resource.reserved import TUNING_ENV

_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_TIMINGS = frozenset({"initialDelaySeconds", "periodSeconds", "timeoutSeconds", "failureThreshold", "successThreshold"})
_FREE_RESOURCES = frozenset({"cpu", "memory", "ephemeral-storage"})
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9_.,:/-]{0,256}")
"""No `$`: in a variable's value, `$(HF_TOKEN)` stands for the token."""


def compared_part(template: Mapping[str, Any]) -> dict[str, Any]:
    """The template without the fields that may differ. Two templates with the same part give pods the same rights.

    A field in a shape that the operator never writes, such as a probe that executes a command, stays in.
    Raises KeyError, TypeError, ValueError or AttributeError on what is no pod template.
    """
    spec = dict(template["spec"])
    (container,) = spec["containers"]
    if isinstance(spec.get("terminationGracePeriodSeconds"), int):
        del spec["terminationGracePeriodSeconds"]
    spec["tolerations"] = [each for each in spec.get("tolerations", ()) if each not in ON_GPU_NODES]
    affinity = spec.pop("affinity", {})
    return {**template, "spec": {**spec, **_others(affinity), "containers": [_container(container)]}}


def _others(affinity: Mapping[str, Any]) -> dict[str, Any]:
    """What the affinity says besides the nodes: an author's own terms, which do not change with the operator."""
    others = {name: value for name, value in affinity.items() if name != "nodeAffinity"}
    return {"affinity": others} if others else {}


def _container(container: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in container.items() if not (name in _PROBES and _only_asks(value))}
    kept["env"] = [variable for variable in container.get("env", ()) if not _is_tuning(variable)]
    kept["resources"] = {
        kind: dict(_fixed(amounts)) if kind in ("limits", "requests") else amounts
        for kind, amounts in container.get("resources", {}).items()
    }
    return {**kept, "resources": {kind: amounts for kind, amounts in kept["resources"].items() if amounts}}


def _only_asks(probe: Mapping[str, Any]) -> bool:
    """Whether it is a GET of the pod itself, at any path and port. `host` would let the kubelet call other machines."""
    asks = probe.get("httpGet", {"host": ""})
    return set(probe) <= {"httpGet", *_TIMINGS} and set(asks) <= {"path", "port"}


def _is_tuning(variable: Mapping[str, Any]) -> bool:
    return (
        set(variable) == {"name", "value"}
        and variable["name"] in TUNING_ENV
        and _PLAIN_VALUE.fullmatch(variable["value"]) is not None
    )


def _fixed(amounts: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    return ((name, amount) for name, amount in amounts.items() if name not in _FREE_RESOURCES)

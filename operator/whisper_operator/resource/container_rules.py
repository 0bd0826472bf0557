"""Rules about the author's own containers, in CEL; see `rules`. Data only.

What runs in them is the author's; their security context is the operator's (`manifests.containers`).
"""

from __future__ import annotations

from whisper_operator import names
from whisper_operator.resource.rule import Rule

SHARED_VOLUMES = ("cache", "scratch")
"""Of the operator's volumes; the others hold keys, or are the server's alone."""
FIELDS = ("initContainers", "sidecars")

_SHARED = "[" + ", ".join(f"'{name}'" for name in SHARED_VOLUMES) + "]"

CONTAINER_RULES: tuple[Rule, ...] = (
    *(
        rule
        for field in FIELDS
        for rule in (
            Rule(
                at=f"spec.pod.{field}[]",
                field="image",
                rule="has(self.image)",
                message="write the container's image",
            ),
            Rule(
                at=f"spec.pod.{field}[].name",
                rule=f"self != '{names.CONTAINER}'",
                message=f"the container of the server has the name {names.CONTAINER}: write another one",
            ),
            Rule(
                at="spec.pod",
                field=field,
                rule=(
                    f"!has(self.{field}) || self.{field}.all(each, !has(each.volumeMounts) || each.volumeMounts.all(mount,"
                    f" mount.name in {_SHARED} || (has(self.volumes) && self.volumes.exists(volume, volume.name == mount.name))))"
                ),
                message=f"a volumeMount has the name of no volume: write one of pod.volumes, {' or '.join(SHARED_VOLUMES)}",
            ),
        )
    ),
    Rule(
        at="spec.pod.initContainers[]",
        rule="!has(self.startupProbe) && !has(self.readinessProbe) && !has(self.livenessProbe)",
        message="it ends before the server starts, so nothing probes it: leave probes out, or write it in pod.sidecars",
    ),
    Rule(
        at="spec.pod",
        field="sidecars",
        rule="!has(self.sidecars) || !has(self.initContainers) || self.sidecars.all(one, self.initContainers.all(other, one.name != other.name))",
        message="pod.initContainers has a container of the same name: write another one",
    ),
)

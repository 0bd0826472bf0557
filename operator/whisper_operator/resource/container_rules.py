"""Rules about the author's own containers, in CEL; see `rules`. Data only.

What runs in them is the author's; their security context is the operator's (`manifests.containers`).
"""

from __future__ import annotations

from whisper_operator import names
from whisper_operator.resource.pod_rules import env_rules, resource_rules
from whisper_operator.resource.rule import Rule

SHARED_VOLUMES = ("cache", "scratch")
"""Of the operator's volumes; the others hold keys, or are the server's alone."""
FIELDS = ("initContainers", "sidecars")
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")

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
            Rule(
                at="spec",
                field=f"pod.{field}",
                rule=(
                    f"(has(self.cache) && (has(self.cache.persistentVolumeClaim) || has(self.cache.existingClaim))) || !has(self.pod.{field})"
                    f" || self.pod.{field}.all(each, !has(each.volumeMounts) || each.volumeMounts.all(mount, mount.name != 'cache'))"
                ),
                message="only a claim makes the volume cache: write cache.persistentVolumeClaim or cache.existingClaim, or mount scratch",
            ),
            *env_rules(f"spec.pod.{field}[].env[]"),
            *resource_rules(f"spec.pod.{field}[].resources"),
        )
    ),
    *(
        Rule(
            at=f"spec.pod.sidecars[].{probe}",
            rule="[has(self.exec), has(self.grpc), has(self.httpGet), has(self.tcpSocket)].filter(one, one).size() == 1",
            message="write exactly one of exec, grpc, httpGet and tcpSocket",
        )
        for probe in PROBES
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

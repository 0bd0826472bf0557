"""Rules about volumes of the author's, in CEL; see `rules`. Data only.

The paths and names are those of `manifests.volumes`, which a test compares.
"""

from __future__ import annotations

from whisper_operator.resource.rule import Rule

OWN_VOLUMES = ("scratch", "cache", "models", "shm", "api-keys", "ca-bundle", "model-registry")
"""Names of the operator's volumes."""
OWN_FOLDERS = ("/scratch", "/tmp", "/cache", "/dev", "/proc", "/sys", "/etc/whisper")  # noqa: S108 - of the pod
"""Where its volumes and the system's are. /models is its own with cache.image only."""

_SOURCES = ("configMap", "emptyDir", "persistentVolumeClaim", "secret")


def _listed(words: tuple[str, ...]) -> str:
    return "[" + ", ".join(f"'{word}'" for word in words) + "]"


VOLUME_RULES: tuple[Rule, ...] = (
    Rule(
        at="spec.pod.volumes[]",
        rule=f"[{', '.join(f'has(self.{source})' for source in _SOURCES)}].filter(one, one).size() == 1",
        message=f"write exactly one of {', '.join(_SOURCES)}",
    ),
    Rule(
        at="spec.pod.volumes[].name",
        rule=f"!(self in {_listed(OWN_VOLUMES)})",
        message=f"the operator has volumes named {', '.join(OWN_VOLUMES)}: write another name",
    ),
    Rule(
        at="spec.pod",
        field="volumeMounts",
        rule="!has(self.volumeMounts) || self.volumeMounts.all(one, has(self.volumes) && self.volumes.exists(volume, volume.name == one.name))",
        message="write names of volumes in pod.volumes; the operator mounts its own",
    ),
    Rule(
        at="spec.pod.volumeMounts[].mountPath",
        rule=f"!{_listed(OWN_FOLDERS)}.exists(folder, self == folder || self.startsWith(folder + '/'))",
        message=f"the operator or the system has {', '.join(OWN_FOLDERS)}: write another path, such as /models or /data",
    ),
    Rule(
        at="spec",
        field="pod.volumeMounts",
        rule="!has(self.cache) || !has(self.cache.image) || !has(self.pod.volumeMounts) || self.pod.volumeMounts.all(one, one.mountPath != '/models' && !one.mountPath.startsWith('/models/'))",
        message="cache.image is mounted at /models: write another path, or leave cache.image out",
    ),
)

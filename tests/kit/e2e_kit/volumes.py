"""Volumes made by hand on the node: a folder, or a file system of a limited size, and the PersistentVolume of it.

They are local volumes, for whose owner the kubelet cares (fsGroup), as it does for those of a cloud.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cluster_kit.cluster import Cluster, CommandFailed, Document
from cluster_kit.real_node.node import RealNode


@dataclass(frozen=True)
class Volume:
    """A volume that is there. `storage_class` is its own: a claim that names it gets it."""

    node: RealNode
    name: str
    folder: Path
    access_mode: str

    def cache(self, size: str = "1Gi") -> Document:
        """`spec.cache` of an endpoint that keeps its models in it."""
        claim = {"size": size, "storageClassName": self.name, "accessModes": [self.access_mode]}
        return {"persistentVolumeClaim": claim}

    def files(self) -> dict[str, tuple[int, int]]:
        """Path → (inode, time of the last change) of all files in it: a file that was written again differs."""
        listed = self.node.run(["find", str(self.folder), "-type", "f", "-printf", "%P %i %T@\\n"]).stdout
        rows = [line.rsplit(" ", 2) for line in listed.splitlines()]
        return {path: (int(inode), int(float(changed) * 1e6)) for path, inode, changed in rows}

    def resize(self, mebibytes: int) -> None:
        """Only where it is limited."""
        self.node.run(["mount", "-o", f"remount,size={mebibytes}m", str(self.folder)])


@contextmanager
def volume(
    cluster: Cluster, node: RealNode, name: str, *, access_mode: str = "ReadWriteOnce", mebibytes: int | None = None
) -> Iterator[Volume]:
    """A volume; with `mebibytes`, no more than that fit in. Gone afterwards, with what it holds."""
    folder = cluster.folder / "volumes" / name
    folder.mkdir(parents=True)
    if mebibytes is not None:
        node.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", name, str(folder)])
    try:
        cluster.apply(_document(node, name, folder, [access_mode]))
        yield Volume(node, name, folder, access_mode)
    finally:
        cluster.delete("persistentvolume", name, wait=False)
        with suppress(CommandFailed):  # a claim that is still bound holds it by a finalizer; else it is gone
            cluster.kubectl("patch", "pv", name, "--type=merge", '--patch={"metadata":{"finalizers":null}}')
        if mebibytes is not None:
            node.run(["umount", "--lazy", str(folder)])
        shutil.rmtree(folder)


def _document(node: RealNode, name: str, folder: Path, access_modes: Sequence[str]) -> Document:
    on_the_node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node.name]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": list(access_modes),
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": name,
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on_the_node]}]}},
        },
    }

"""Volumes of simulated pods: a default StorageClass whose claims are bound at once, by kwok in a provisioner's place.

kwok makes and deletes the PersistentVolume; binding is the real controller's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

PROVISIONER = "volumes.test.whisper-operator.io"
CLASS = "standard"
STORAGE_CLASS: dict[str, Any] = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": PROVISIONER,
    "reclaimPolicy": "Delete",
    "allowVolumeExpansion": True,
    "volumeBindingMode": "Immediate",
}
VOLUME = f"""
apiVersion: v1
kind: PersistentVolume
metadata:
  name: pvc-{{{{ .metadata.uid }}}}
  annotations: {{pv.kubernetes.io/provisioned-by: {PROVISIONER}}}
spec:
  storageClassName: {CLASS}
  persistentVolumeReclaimPolicy: Delete
  accessModes: {{{{ toJson .spec.accessModes }}}}
  capacity: {{{{ toJson .spec.resources.requests }}}}
  csi: {{driver: {PROVISIONER}, volumeHandle: {{{{ .metadata.uid | Quote }}}}}}
  claimRef:
    {{apiVersion: v1, kind: PersistentVolumeClaim, name: {{{{ .metadata.name | Quote }}}},
     namespace: {{{{ .metadata.namespace | Quote }}}}, uid: {{{{ .metadata.uid | Quote }}}}}}
"""


def stages() -> Iterator[dict[str, Any]]:
    mine: list[dict[str, Any]] = [
        {"key": ".spec.storageClassName", "operator": "In", "values": [CLASS]},
        {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"},
    ]
    unbound = [*mine, {"key": ".spec.volumeName", "operator": "DoesNotExist"}]
    yield _stage("volume", "PersistentVolumeClaim", unbound, {"apply": {"template": VOLUME}})
    released = [*mine, {"key": ".status.phase", "operator": "In", "values": ["Released"]}]
    yield _stage("volume-delete", "PersistentVolume", released, {"delete": True})


def _stage(name: str, kind: str, when: list[dict[str, Any]], step: dict[str, Any]) -> dict[str, Any]:
    reference = {"apiGroup": "v1", "kind": kind}
    spec = {"resourceRef": reference, "selector": {"matchExpressions": when}, "steps": [step]}
    return {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": name}, "spec": spec}

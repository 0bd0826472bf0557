"""The image of the container that holds a pod's namespaces: one static program, packed as an OCI archive."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path
from typing import Any

NAME = "whisper.test/pause:1"


def write(archive: Path, program: Path) -> None:
    blobs: dict[str, bytes] = {}
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.addfile(_file("pause", program.stat().st_size, 0o755), io.BytesIO(program.read_bytes()))
    config = {
        "architecture": _architecture(),
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _blob(blobs, "application/vnd.oci.image.config.v1+json", _packed(config)),
        "layers": [_blob(blobs, "application/vnd.oci.image.layer.v1.tar", layer.getvalue())],
    }
    described = _blob(blobs, "application/vnd.oci.image.manifest.v1+json", _packed(manifest))
    index = {
        "schemaVersion": 2,
        "manifests": [{**described, "annotations": {"io.containerd.image.name": NAME}}],
    }
    files = {"oci-layout": _packed({"imageLayoutVersion": "1.0.0"}), "index.json": _packed(index), **blobs}
    with tarfile.open(archive, "w") as tar:
        for name, content in files.items():
            tar.addfile(_file(name, len(content), 0o644), io.BytesIO(content))


def _blob(blobs: dict[str, bytes], kind: str, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    blobs[f"blobs/sha256/{digest}"] = content
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}


def _packed(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


def _file(name: str, size_bytes: int, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size_bytes, mode
    return info


def _architecture() -> str:
    """As Go calls it."""
    return {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]

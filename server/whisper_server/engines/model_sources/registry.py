"""A model that is an artifact or an image in an OCI registry.

Three layouts are understood: files as ORAS pushes them (a layer a file, named by its title), the CNCF's ModelPack (a layer a
file or a tar, named by its path), and tar layers as images have them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whisper_server.engines.model_sources.archives import SUFFIXES
from whisper_server.engines.model_sources.downloads import Listing, RemoteFile
from whisper_server.engines.model_sources.fetch_error import FetchError
from whisper_server.engines.model_sources.model_files import is_model_file
from whisper_server.engines.model_sources.registry_client import RegistryClient

Json = Mapping[str, Any]

UNPACK = "io.deis.oras.content.unpack"
FILE_PATHS = ("org.opencontainers.image.title", "org.cncf.model.filepath", "org.cnai.model.filepath")
MODEL_TYPES = ("application/vnd.cncf.model.", "application/vnd.cnai.model.")


@dataclass(frozen=True)
class Artifact:
    """`oci://registry/repository:tag` or `…@sha256:…`."""

    client: RegistryClient
    tag: str
    digest: str

    @property
    def pinned(self) -> str:
        return self.digest

    def list(self) -> Listing:
        manifest, digest = self.client.manifest(self.digest or self.tag)
        try:
            if manifest.get("manifests") is not None:
                manifest, _ = self.client.manifest(_chosen(manifest["manifests"]))
            files = tuple(file for layer in manifest.get("layers") or () for file in self._files(layer))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise FetchError(
                f"its manifest is not as the specification has it ({type(error).__name__}: {error})",
                "push it again, with another tool",
            ) from error
        if not files:
            raise FetchError("it has no layer with files of a model", "push the files of a Whisper checkpoint")
        return Listing(version=digest, files=files)

    def _files(self, layer: Json) -> Iterator[RemoteFile]:
        digest, annotations = str(layer.get("digest")), layer.get("annotations") or {}
        sha256 = digest.removeprefix("sha256:")
        if sha256 == digest:
            raise FetchError(f"a layer's digest is {digest}, not sha256", "push it with sha256 digests")
        path = next((str(annotations[key]) for key in FILE_PATHS if key in annotations), "")
        is_archive = _is_archive(str(layer.get("mediaType", "")), path, annotations)
        if is_archive or is_model_file(path):
            if (n_bytes := int(layer["size"])) < 0:
                raise ValueError("a size is negative")
            yield RemoteFile(
                name=sha256 if is_archive else path,
                n_bytes=n_bytes,
                read=lambda offset: self.client.blob(digest, offset),
                sha256=sha256,
                is_archive=is_archive,
            )


def _is_archive(media_type: str, path: str, annotations: Json) -> bool:
    """ORAS calls a plain file a tar, too: only a layer without a name surely is one."""
    if "zstd" in media_type:
        raise FetchError("a layer is packed with zstd", "push it as plain tar or with gzip")
    if not path or annotations.get(UNPACK) == "true" or path.endswith(SUFFIXES):
        return True
    return media_type.startswith(MODEL_TYPES) and ".tar" in media_type


def _chosen(manifests: Sequence[Json]) -> str:
    """Of an image for several platforms, that of this one, else the first: the files of a model are the same."""
    real = [one for one in manifests if (one.get("platform") or {}).get("os") != "unknown"]
    fitting = [one for one in real if (one.get("platform") or {}).get("architecture") == "amd64"]
    if not real:
        raise FetchError("it is an empty index", "push the model under this tag")
    return str((fitting or real)[0]["digest"])

"""A real OCI registry (distribution) and real S3-compatible storage (versitygw), with passwords, on this machine."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import obstore
from obstore.store import S3Store

from cluster_kit import tools
from model_kit import token_server

USER, PASSWORD = "reader", "right-password"
BCRYPT_HASH = "$2b$04$rbCsGmC4PCmXdvJhcqdgDeP3itAee0g8F5FutDaNbtvo2RZI/xS5."
"""Of PASSWORD, by crypt(3)."""
REGION = "eu-test-1"


@dataclass(frozen=True)
class Running:
    """Where it listens."""

    address: str

    @property
    def url(self) -> str:
        return f"http://{self.address}"


@contextmanager
def registry(folder: Path) -> Iterator[Running]:
    """A registry that asks for USER's PASSWORD."""
    folder.mkdir()
    (folder / "htpasswd").write_text(f"{USER}:{BCRYPT_HASH}\n")
    with _registry(folder, folder / "data", f"{{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}") as running:
        yield running


@contextmanager
def registry_with_tokens(folder: Path, data: Path, realm: str = "") -> Iterator[Running]:
    """A registry of what another one has below `data`, for which a token server, at `realm`, asks for USER's PASSWORD."""
    folder.mkdir()
    with token_server.serving(folder, {USER: PASSWORD}) as tokens:
        described = f"realm: {realm or tokens.realm}, service: {token_server.SERVICE}, issuer: {token_server.ISSUER}"
        with _registry(folder, data, f"{{token: {{{described}, rootcertbundle: {tokens.certificate}}}}}") as running:
            yield running


@contextmanager
def _registry(folder: Path, data: Path, auth: str) -> Iterator[Running]:
    tools.build(["registry"])
    address = f"127.0.0.1:{_free_port()}"
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {data}}}}}\n"
        f"http: {{addr: {address}}}\nauth: {auth}\n"
    )
    with _process([str(tools.path("registry")), "serve", str(folder / "config.yml")], {}, address) as running:
        yield running


def push(running: Running, repository: str, tag: str, layers: Sequence[tuple[bytes, Mapping[str, object]]]) -> str:
    """Push an artifact as its clients do; a layer is its content and further fields of its descriptor. The digest."""
    base = f"{running.url}/v2/{repository}"
    with httpx.Client(auth=(USER, PASSWORD)) as client:
        descriptors = []
        for content, fields in [*layers, (b"{}", {"mediaType": "application/vnd.oci.empty.v1+json"})]:
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            upload = client.post(f"{base}/blobs/uploads/").raise_for_status().headers["location"]
            client.put(httpx.URL(upload).copy_merge_params({"digest": digest}), content=content).raise_for_status()
            descriptors.append({"digest": digest, "size": len(content), **fields})
        *described, config = descriptors
        media_type = "application/vnd.oci.image.manifest.v1+json"
        manifest = {"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": described}
        answer = client.put(f"{base}/manifests/{tag}", json=manifest, headers={"Content-Type": media_type})
        return str(answer.raise_for_status().headers["docker-content-digest"])


@contextmanager
def bucket_store(folder: Path) -> Iterator[Running]:
    """S3 for USER's PASSWORD over the folder, whose folders are the buckets."""
    tools.build(["versitygw"])
    folder.mkdir()
    address = f"127.0.0.1:{_free_port()}"
    command = [str(tools.path("versitygw")), "--port", address, "--region", REGION, "posix", str(folder)]
    secrets = {"ROOT_ACCESS_KEY_ID": USER, "ROOT_SECRET_ACCESS_KEY": PASSWORD}
    with _process(command, secrets, address) as running:
        yield running


def upload(running: Running, bucket: str, files: Mapping[str, bytes]) -> None:
    store = S3Store(
        bucket, endpoint=running.url, region=REGION, access_key_id=USER, secret_access_key=PASSWORD,
        client_options={"allow_http": True},
    )  # fmt: skip
    for name, content in files.items():
        obstore.put(store, name, content)


@contextmanager
def _process(command: list[str], variables: dict[str, str], address: str) -> Iterator[Running]:
    process = subprocess.Popen(command, env={**os.environ, **variables}, stdout=subprocess.DEVNULL)
    try:
        _wait_until_listening(process, address)
        yield Running(address)
    finally:
        process.terminate()
        process.wait(10)


def _wait_until_listening(process: subprocess.Popen[bytes], address: str) -> None:
    host, _, port = address.rpartition(":")
    while process.poll() is None:
        try:
            with socket.create_connection((host, int(port)), timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} ended with {process.returncode}")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])

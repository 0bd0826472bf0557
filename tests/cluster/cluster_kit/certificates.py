"""One certificate authority per cluster, certificates of its components and users, and kubeconfigs that hold them.

openssl makes them; elliptic curves, because RSA keys would take longer than the apiserver to start.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster_kit.layout import Layout
from cluster_kit.tools import Unavailable

CA_NAME = "/CN=whisper-test-cluster"
DAYS = "365"


def make_authority(layout: Layout) -> None:
    """The authority, and the key that signs the tokens of service accounts."""
    layout.certificates.mkdir(mode=0o700)
    folder = layout.certificates
    extensions = ["-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"]
    openssl("req", "-x509", *new_key(folder / "ca.key"), "-subj", CA_NAME, *extensions, "-out", str(layout.authority))
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(folder / "service-accounts.key"))


def make_certificate(layout: Layout, name: str, subject: str, *, addresses: str = "") -> None:
    """NAME.crt and NAME.key for a subject such as /O=GROUP/CN=USER. With `addresses` it serves, too."""
    folder = layout.certificates
    usage = "serverAuth,clientAuth" if addresses else "clientAuth"
    extensions = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", f"extendedKeyUsage={usage}"]
    if addresses:
        extensions += ["-addext", f"subjectAltName={addresses}"]
    signer = ["-CA", str(layout.authority), "-CAkey", str(folder / "ca.key")]
    files = [*new_key(folder / f"{name}.key"), "-out", str(folder / f"{name}.crt")]
    openssl("req", "-x509", *signer, *files, "-subj", subject, *extensions)


def with_certificate(layout: Layout, name: str) -> dict[str, str]:
    """The user of a kubeconfig who shows the certificate of this name."""
    folder = layout.certificates
    return {
        "client-certificate-data": _packed(folder / f"{name}.crt"),
        "client-key-data": _packed(folder / f"{name}.key"),
    }


def tls_secret(certificate: Path, key: Path, *, name: str, namespace: str) -> dict[str, Any]:
    """A Secret for an Ingress or a Gateway."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": namespace},
        "data": {"tls.crt": _packed(certificate), "tls.key": _packed(key)},
    }


def write_kubeconfig(
    path: Path, *, server: str, authority: str, user: Mapping[str, str], namespace: str = "default"
) -> None:
    """A kubeconfig that needs no other file; `authority` is packed in base64. It is JSON, which is YAML."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "whisper", "cluster": {"server": server, "certificate-authority-data": authority}}],
        "users": [{"name": "user", "user": dict(user)}],
        "contexts": [{"name": "whisper", "context": {"cluster": "whisper", "user": "user", "namespace": namespace}}],
        "current-context": "whisper",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(document, indent=2) + "\n")


def packed_authority(layout: Layout) -> str:
    return _packed(layout.authority)


def _packed(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def new_key(path: Path) -> list[str]:
    """Arguments of `openssl req` for a key made there, and how long its certificate holds."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-keyout", str(path)]
    return [*key, "-days", DAYS, "-batch"]


def openssl(*arguments: str) -> None:
    """Raises Unavailable where it is not installed, RuntimeError with what it said."""
    if shutil.which("openssl") is None:
        raise Unavailable(
            "the test cluster's certificates are made by openssl, which is not here: apt-get install openssl"
        )
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr}")

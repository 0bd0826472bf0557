"""Host names that only the tests know, and certificates for them: what DNS and a public authority are outside.

How they are used by clients and secrets is the tests' business.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster_kit import proxies
from cluster_kit.certificates import new_key, openssl, tls_secret
from cluster_kit.cluster import Document


@contextmanager
def resolving(address: str, *hosts: str) -> Iterator[None]:
    """While it is open, this process finds `hosts` at `address`, and asks no proxy for them."""
    ask = socket.getaddrinfo

    def answer(host: Any, *arguments: Any, **keywords: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return ask(address if name in hosts else host, *arguments, **keywords)

    socket.getaddrinfo = answer
    try:
        with proxies.direct(*hosts):
            yield
    finally:
        socket.getaddrinfo = ask


@dataclass(frozen=True)
class Certificate:
    """A certificate with its key, and the authority that signed it, as files."""

    authority: Path
    certificate: Path
    key: Path

    def trusting(self) -> ssl.SSLContext:
        """What a client takes that trusts this authority and no other."""
        return ssl.create_default_context(cafile=str(self.authority))

    def secret(self, namespace: str, name: str = "certificate") -> Document:
        """What an Ingress names for its host."""
        return tls_secret(self.certificate, self.key, name=name, namespace=namespace)


def certificate_for(host: str, folder: Path) -> Certificate:
    """One for a host, by an authority of its own."""
    made = Certificate(folder / "ca.crt", folder / "tls.crt", folder / "tls.key")
    ca_key = folder / "ca.key"
    usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"]
    openssl("req", "-x509", *new_key(ca_key), "-subj", "/CN=test authority", *usage, "-out", str(made.authority))
    extensions = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=serverAuth"]
    extensions += ["-addext", f"subjectAltName=DNS:{host}"]
    signer = ["-CA", str(made.authority), "-CAkey", str(ca_key)]
    files = [*new_key(made.key), "-out", str(made.certificate)]
    openssl("req", "-x509", *signer, *files, "-subj", f"/CN={host}", *extensions)
    return made

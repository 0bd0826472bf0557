"""What a cluster has where: the files in its folder, its ports, and what says that the folder is a cluster's.

Nothing here starts or deletes anything.
"""

from __future__ import annotations

import json
import random
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

MARKER = "whisper-cluster.json"
SIMULATED, REAL = "simulated", "real"
PORTS = range(20_000, 30_000)
"""Below what the kernel gives to clients (32768 on) and services get as node ports (30000 on): nobody is handed one of
these by chance while an apiserver is down for a moment."""


@dataclass(frozen=True)
class Layout:
    """A cluster's folder and its addresses."""

    folder: Path
    apiserver_port: int
    datastore_port: int
    nodes: str = SIMULATED
    """Whether its nodes are played by kwok, or it has one real one."""
    link: int = 0
    """Which network there is between this machine and the real node: 10.99.LINK.0/30."""

    @property
    def is_real(self) -> bool:
        return self.nodes == REAL

    @property
    def address(self) -> str:
        """Where the apiserver listens: with a real node, where pods reach it."""
        return self.host_address if self.is_real else "127.0.0.1"

    @property
    def advertised(self) -> str:
        """What the Service `kubernetes` points at. Simulated pods do not ask: theirs is of TEST-NET."""
        return self.host_address if self.is_real else "192.0.2.1"

    @property
    def server(self) -> str:
        return f"https://{self.address}:{self.apiserver_port}"

    @property
    def host_address(self) -> str:
        """Where pods of the real node reach what listens on this machine."""
        return f"10.99.{self.link}.1"

    @property
    def node_address(self) -> str:
        return f"10.99.{self.link}.2"

    @property
    def node(self) -> Path:
        """What the real node has for its own: containerd's, the kubelet's and the logs' folders."""
        return self.folder / "node"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def certificates(self) -> Path:
        return self.folder / "certificates"

    @property
    def authority(self) -> Path:
        return self.certificates / "ca.crt"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def processes(self) -> Path:
        return self.folder / "processes"

    @property
    def audit_policy(self) -> Path:
        return self.folder / "audit-policy.yaml"

    @property
    def audit_log(self) -> Path:
        return self.logs / "audit.log"

    @property
    def stages(self) -> Path:
        return self.folder / "stages.yaml"

    def kubeconfig_of(self, component: str) -> Path:
        return self.folder / f"{component}.kubeconfig"

    def save(self) -> None:
        """Make the folder a cluster's. Raises FileExistsError where it is one, if only since a moment ago."""
        with (self.folder / MARKER).open("x") as file:
            json.dump({**asdict(self), "folder": str(self.folder)}, file)


def load(folder: Path) -> Layout | None:
    """The cluster of this folder; None where it is none."""
    try:
        document = json.loads((folder / MARKER).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Layout(**{**document, "folder": folder})


def plan(folder: Path, nodes: str = SIMULATED, link: int = 0) -> Layout:
    """A new cluster in this folder, on ports that are free."""
    apiserver, datastore = free_ports(2)
    return Layout(folder, apiserver, datastore, nodes, link)


def free_ports(n: int) -> list[int]:
    """Ports of 127.0.0.1 that nothing listens on, at random: several clusters may be on their way up."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == n:
            return found
    raise RuntimeError(f"fewer than {n} ports of {PORTS} are free")

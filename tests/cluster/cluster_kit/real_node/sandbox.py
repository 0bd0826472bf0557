"""The namespaces that a real node lives in: its own processes, mounts and network, held by one first process.

When that process ends, all that was started inside ends with it, and every mount, interface and iptables rule is gone.
Of this machine, only one interface with one address is taken. What runs inside is elsewhere.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster_kit import processes, tools
from cluster_kit.control_plane import SERVICE_RANGE
from cluster_kit.layout import Layout
from cluster_kit.processes import Process
from cluster_kit.real_node import cgroups, packages
from cluster_kit.tools import Unavailable

SANDBOX = "sandbox"
POD_RANGE = "10.88.0.0/16"
LINKS = 64
"""How many real nodes this machine may have at a time, each on a network of its own."""
CHILD_LIMIT_S = 30.0
HIDDEN = ("/run", "/var/lib", "/var/log", "/usr")
"""What the node has of its own in the place of this machine's."""
TUNABLES: Mapping[str, int] = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}
"""What a kubelet sets for the whole machine, and ends where it cannot. It gets files that say so already."""
MOUNTS = """
mount --make-rshared / # among the node's own; to this machine, nothing goes back
mount -t overlay -o "lowerdir=$PACKAGES:/usr" overlay /usr
mount --bind "$NODE/lib" /var/lib
mount --bind "$NODE/log" /var/log
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/tunables
"""
OVERLAY = """
mkdir "$1/lower" "$1/upper" "$1/work" "$1/whole"
mount -t overlay -o "lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work" overlay "$1/whole"
"""
NETWORK = """
ip link set lo up
ip address add $NODE_ADDRESS/30 dev eth0
ip link set eth0 up
ip route add $SERVICE_RANGE via $HOST_ADDRESS
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 0 >/proc/sys/net/ipv4/icmp_ratemask
iptables -t nat -A POSTROUTING -s $POD_RANGE -o eth0 -j MASQUERADE
"""
"""Without a route, nobody on the node could ask for a service: kube-proxy's rules come after it. There is no way out
to the world, and what tries hears so at once."""


def check(folder: Path) -> None:
    """Whether this machine can have a real node just now. Raises Unavailable."""
    if os.geteuid() != 0:
        raise Unavailable("a real node takes root: it makes namespaces, control groups and an interface")
    for program, package in {"ip": "iproute2", "nsenter": "util-linux", "unshare": "util-linux"}.items():
        if shutil.which(program) is None:
            raise Unavailable(f"a real node takes {program}, which is not here: apt-get install {package}")
    hidden = [place for place in HIDDEN if folder.resolve().is_relative_to(place)]
    hidden += [place for place in HIDDEN if tools.cache().resolve().is_relative_to(place)]
    if hidden:
        raise Unavailable(
            f"a real node has a {hidden[0]} of its own: the cluster's folder and the cache cannot be there"
        )
    with claimed_link():
        pass
    unshared = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "true"]
    done = subprocess.run(unshared, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"a real node takes namespaces of its own: {done.stderr.strip()}")
    _check_overlay(folder)


def _check_overlay(folder: Path) -> None:
    """Where the cluster's folder will be, containerd lays layers of images over each other. Raises Unavailable."""
    there = next(place for place in (folder.resolve(), *folder.resolve().parents) if place.is_dir())
    with tempfile.TemporaryDirectory(dir=there, prefix=".whisper-overlay-") as scratch:
        command = ["unshare", "--mount", "sh", "-euc", OVERLAY, "sh", scratch]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(
            f"a real node takes a folder that overlayfs can use, unlike those below {there}: {done.stderr.strip()}"
        )


@contextmanager
def claimed_link() -> Iterator[int]:
    """The first of our networks that is in no interface, and that nobody else who is on his way up has claimed.

    The claim is a name that one socket of this machine's network can have at a time; it goes with the process, however
    that ends. Raises Unavailable.
    """
    for link in range(LINKS):
        ends = {f"10.99.{link}.{end}" for end in range(4)}
        with socket.socket(socket.AF_UNIX) as claim:
            try:
                claim.bind(f"\0whisper-real-node-{link}")
            except OSError:
                continue
            if not ends & {address for address, _ in _addresses()}:  # asked now: who had the claim has one by now
                yield link
                return
    who = ", ".join(sorted({f"{name} has {address}" for address, name in _addresses() if address.startswith("10.99.")}))
    raise Unavailable(f"a real node takes one of {LINKS} networks from 10.99.0.0/30 on, and none is free: {who}")


def _addresses() -> Iterator[tuple[str, str]]:
    """Of all interfaces, with the name of each."""
    for interface in json.loads(_command("ip", "-json", "-4", "address", "show")):
        for given in interface.get("addr_info", []):
            yield given["local"], interface["ifname"]


def start(layout: Layout) -> None:
    """The namespaces, with nothing in them yet."""
    for name in ("lib", "log"):
        (layout.node / name).mkdir(parents=True)
    cgroups.make(layout)
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    _started(layout, SANDBOX, [*unshare, "--propagation=slave", str(tools.path("pause"))], {})
    first = str(processes.recorded(layout.processes)[SANDBOX].pid)
    try:
        _command("ip", "link", "add", interface(layout), "type", "veth", "peer", "name", "eth0", "netns", first)
        _command("ip", "address", "add", f"{layout.host_address}/30", "dev", interface(layout))
        _command("ip", "link", "set", interface(layout), "up")
        _command(*prefix(layout), "sh", "-euc", _script(layout), environment=environment(layout))
    except subprocess.CalledProcessError as failed:
        raise Unavailable(f"a real node cannot be had here: {failed.cmd[0]}: {failed.stderr.strip()}") from None


def remove(layout: Layout) -> None:
    """What outlives the processes that have ended by now."""
    subprocess.run(["ip", "link", "delete", interface(layout)], capture_output=True, check=False)
    cgroups.remove(layout)


def interface(layout: Layout) -> str:
    """This machine's end of the link; it tells by the cluster's folder whose it is."""
    return cgroups.root(layout).removeprefix("/")[:15]


def start_inside(layout: Layout, name: str, argv: Sequence[str], environment: Mapping[str, str]) -> Process:
    """Start a program of the node, and record it."""
    return _started(layout, name, [*prefix(layout), *argv], environment)


def prefix(layout: Layout) -> list[str]:
    """What a command that runs inside begins with. Raises ProcessLookupError where the namespaces are gone: by now,
    their first process's id may be of somebody else's."""
    first = processes.recorded(layout.processes)[SANDBOX]
    if not first.alive:
        raise ProcessLookupError(f"the real node of {layout.folder} has ended")
    return [_found("nsenter"), f"--target={first.pid}", "--net", "--mount", "--pid", "--"]


def environment(layout: Layout) -> dict[str, str]:
    """What programs inside get: nothing of this machine's proxies, and root's PATH."""
    own = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": f"{own}:{os.environ.get('PATH', '')}", "HOME": str(layout.node)}


def entry(name: str) -> str:
    """The record of the process that waits, outside, for one inside: both end together."""
    return f"{name}.entry"


def _started(layout: Layout, name: str, argv: Sequence[str], environment: Mapping[str, str]) -> Process:
    """Start what enters namespaces by a child, and record both."""
    command = [_found(argv[0]), *argv[1:]]
    log = layout.logs / f"{name}.log"
    outside = processes.start(entry(name), command, log=log, environment=environment)
    processes.record(outside, layout.processes)
    inside = processes.of_pid(name, _child(outside, log))
    processes.record(inside, layout.processes)
    return inside


def _child(parent: Process, log: Path) -> int:
    deadline_s = time.monotonic() + CHILD_LIMIT_S
    while parent.alive and time.monotonic() < deadline_s:
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.005)
    raise Unavailable(f"a real node: {parent.name} has not started: {log.read_text()[-1000:]}")


def _script(layout: Layout) -> str:
    variables = {
        "PACKAGES": packages.path(),
        "NODE": layout.node,
        "NODE_ADDRESS": layout.node_address,
        "HOST_ADDRESS": layout.host_address,
        "POD_RANGE": POD_RANGE,
        "SERVICE_RANGE": SERVICE_RANGE,
    }
    lines = [f"{name}='{value}'" for name, value in variables.items()]
    tunables = [
        f"echo {value} >/run/tunables/{index}; mount --bind /run/tunables/{index} /proc/sys/{name}"
        for index, (name, value) in enumerate(TUNABLES.items())
    ]
    return "\n".join([*lines, MOUNTS, *tunables, NETWORK])


def _command(*command: str, environment: Mapping[str, str] | None = None) -> str:
    """What it prints. Raises CalledProcessError."""
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def _found(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise Unavailable(f"a real node takes {program}, which is not here")
    return found

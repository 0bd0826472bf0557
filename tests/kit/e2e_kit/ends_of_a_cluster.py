"""A cluster with a real node comes up and ends in one of several ways, and a comparison of what there is then and was
before. Runs by itself, in namespaces that nobody else changes meanwhile; told those outside, it refuses to be there:

unshare --mount --net --pid --fork --mount-proc sh -c '"$@"; exit $?' sh \
  python -m e2e_kit.ends_of_a_cluster WAY FOLDER $(readlink /proc/self/ns/mnt /proc/self/ns/net)
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from cluster_kit import lifecycle, processes
from cluster_kit.cluster import cluster_in
from cluster_kit.layout import REAL, Layout, load
from cluster_kit.real_node import bring_up, cgroups, packages, pause_image
from cluster_kit.real_node.sandbox import SANDBOX
from cluster_kit.tools import Unavailable
from e2e_kit import inventory

REFUSED = 77
"""The exit status where this machine cannot have a real node."""
GONE_LIMIT_S = 30.0
OWNER = """
import sys, time
from pathlib import Path
from cluster_kit import lifecycle, processes
lifecycle.up(Path(sys.argv[1]), owner=processes.this_process(), nodes="real")
print("up", flush=True)
time.sleep(600)
"""
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "waits"},
    "spec": {
        "containers": [
            {
                "name": "main",
                "image": pause_image.NAME,
                "resources": {"limits": {"memory": "32Mi"}},
                "volumeMounts": [{"name": "memory", "mountPath": "/memory"}],
            }
        ],
        "volumes": [{"name": "memory", "emptyDir": {"medium": "Memory"}}],
    },
}


def by_down(folder: Path) -> None:
    lifecycle.up(folder, nodes=REAL)
    run_a_pod(folder)


def after_what_it_is_made_of(folder: Path) -> None:
    layout = lifecycle.up(folder, nodes=REAL)
    run_a_pod(folder)
    lifecycle.stop_component(layout, "kubelet")
    lifecycle.stop_component(layout, "kube-apiserver", number=signal.SIGKILL)
    kill_sandbox(layout)


def with_its_owner(folder: Path) -> None:
    with owned(folder):
        run_a_pod(folder)


def with_its_owner_after_the_sandbox(folder: Path) -> None:
    with owned(folder) as layout:
        run_a_pod(folder)
        kill_sandbox(layout)


WAYS: Mapping[str, tuple[Callable[[Path], None], bool]] = {
    "down": (by_down, True),
    "kubelet stopped, apiserver and sandbox killed, then down": (after_what_it_is_made_of, True),
    "owner killed": (with_its_owner, False),
    "sandbox killed, then the owner": (with_its_owner_after_the_sandbox, False),
}
"""What happens to the cluster, and whether somebody takes it down."""


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[Layout]:
    """A cluster of a process that is killed at the end."""
    command = [sys.executable, "-c", OWNER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        try:
            assert owner.stdout is not None
            assert owner.stdout.readline() == "up\n"
            layout = load(folder)
            assert layout is not None
            yield layout
        finally:
            owner.kill()


def kill_sandbox(layout: Layout) -> None:
    processes.end([processes.recorded(layout.processes)[SANDBOX]], number=signal.SIGKILL)


def run_a_pod(folder: Path) -> None:
    cluster = cluster_in(folder)
    assert cluster is not None
    assert cluster.node is not None
    node = cluster.node
    cluster.apply(POD)
    pod = cluster.wait(lambda: ready(cluster.get("pod", "waits")), 60, "the pod runs")
    assert node.pids(pod)
    assert node.shim(pod)


def ready(pod: dict[str, object]) -> dict[str, object] | None:
    status = pod.get("status")
    return pod if isinstance(status, dict) and status.get("phase") == "Running" else None


@contextlib.contextmanager
def bystanders(folder: Path) -> Iterator[None]:
    """What has nothing to do with the cluster, one of each kind; gone with the namespaces."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        where, kind = line.split()[4], line.partition(" - ")[2].split()[0]
        if kind == "overlay" and where != "/":  # of images that somebody builds: they go when it suits him
            subprocess.run(["umount", "--lazy", where], check=False)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    link = ["ip", "link", "add", "bystander0", "type", "veth", "peer", "name", "bystander1"]
    subprocess.run(link, check=True)
    subprocess.run(["ip", "address", "add", "10.99.0.1/30", "dev", "bystander0"], check=True)
    mount = folder.parent / "mount"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(mount)], check=True)
    rule = ["-t", "nat", "-A", "POSTROUTING", "-s", "192.0.2.77", "-j", "MASQUERADE"]
    iptables = str(packages.path() / "sbin" / "iptables")
    subprocess.run([iptables, *rule], env=inventory.packages_environment(), check=True)
    group = bystander_group(folder)
    group.mkdir()
    try:
        with subprocess.Popen(["sleep", "600"]) as process:
            while not Path(f"/proc/{process.pid}/cmdline").read_bytes():
                time.sleep(0.01)  # its files are those of the new program a moment before its arguments are
            yield
            assert process.poll() is None
            process.kill()
    finally:
        group.rmdir()


def bystander_group(folder: Path) -> Path:
    """A control group whose name begins as the cluster's does."""
    memory = Path("/sys/fs/cgroup/memory")  # of version 1
    hierarchy = memory if memory.exists() else memory.parent
    return hierarchy / f"{cgroups.root_of(folder).removeprefix('/')}-bystander"


def namespaces() -> list[str]:
    """Of mounts and of the network: what is done here changes both for all who share them."""
    return [str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in ("mnt", "net")]


def main(way: str, folder: Path, outside: Sequence[str]) -> int:
    if len(outside) != len(namespaces()) or set(outside) & set(namespaces()):
        raise SystemExit(f"only in namespaces of its own, by the command that this begins with:\n{__doc__}")
    try:
        bring_up.prepare(folder)
    except Unavailable as why:
        print(why)
        return REFUSED
    end, is_taken_down = WAYS[way]
    with bystanders(folder):
        groups = frozenset({bystander_group(folder).name, cgroups.root_of(folder).removeprefix("/")})
        before = inventory.take(groups=groups)
        end(folder)
        if is_taken_down:
            assert lifecycle.down(folder)
        left = what_is_left(before, folder, groups)
        assert not lifecycle.down(folder)
        print("\n".join(left))
        return 1 if left else 0


def what_is_left(before: inventory.Inventory, folder: Path, groups: frozenset[str]) -> list[str]:
    """The kernel takes a moment for namespaces, and the keeper for the owner's end."""
    deadline_s = time.monotonic() + GONE_LIMIT_S
    while True:
        left = before.differences(inventory.take(groups=groups))
        left += [f"files: {folder}"] if folder.exists() else []
        if not left or time.monotonic() > deadline_s:
            return left
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))

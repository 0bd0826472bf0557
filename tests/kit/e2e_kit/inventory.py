"""What there is on a machine that a cluster could leave behind, or take along: for a comparison of before and after."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import psutil

from cluster_kit.real_node import packages
from cluster_kit.real_node.cgroups import groups_from
from cluster_kit.real_node.sandbox import TUNABLES

PLACES = ("/", "/etc", "/opt", "/run", "/usr/lib", "/var/lib", "/var/log")
"""Where kubelets, container runtimes and network plugins are used to put things."""
OURS = re.compile("cni|containerd|contour|coredns|envoy|kube|netns|pause|runc|whisper|xtables", re.IGNORECASE)
"""Names that these have there: what apt or logrotate put beside them meanwhile is nobody's business here."""


@dataclass(frozen=True)
class Inventory:
    """Everything by words that say what it is."""

    processes: frozenset[str]
    mounts: frozenset[str]
    interfaces: frozenset[str]
    routes: frozenset[str]
    rules: frozenset[str]
    control_groups: frozenset[str]
    files: frozenset[str]
    tunables: frozenset[str]

    def differences(self, later: Inventory) -> list[str]:
        found = []
        for field in fields(self):
            before, after = getattr(self, field.name), getattr(later, field.name)
            found += [f"{field.name}: added {each}" for each in sorted(after - before)]
            found += [f"{field.name}: gone {each}" for each in sorted(before - after)]
        return found


def take(*, groups: frozenset[str]) -> Inventory:
    """Of the namespaces that this process is in. Control groups have none that could be had for oneself: those of these
    names are looked for in every hierarchy, and nobody else's."""
    return Inventory(
        processes=frozenset(_processes()),
        mounts=frozenset(Path("/proc/self/mountinfo").read_text().splitlines()),
        interfaces=frozenset(_interfaces()),
        routes=frozenset(_printed(["ip", "route", "show", "table", "all"])),
        rules=frozenset(_rules()),
        control_groups=frozenset(str(path) for path in groups_from(Path("/sys/fs/cgroup")) if path.name in groups),
        files=frozenset(str(path) for place in PLACES for path in Path(place).glob("*") if OURS.search(path.name)),
        tunables=frozenset(f"{name} = {(Path('/proc/sys') / name).read_text().strip()}" for name in TUNABLES),
    )


def _processes() -> list[str]:
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        if process.pid != os.getpid():
            found.append(f"{process.pid} {' '.join(process.info['cmdline'] or ['?'])}")
    return found


def _interfaces() -> list[str]:
    found = []
    for interface in json.loads("".join(_printed(["ip", "-json", "address", "show"]))):
        addresses = sorted(given["local"] for given in interface.get("addr_info", []))
        found.append(f"{interface['ifname']} {interface.get('operstate')} {addresses}")
    return found


def _rules() -> list[str]:
    """Of the packet filter, without the counters."""
    said = _printed([str(packages.path() / "sbin" / "iptables-save")], environment=packages_environment())
    return [line for line in said if not line.startswith(("#", ":"))]


def packages_environment() -> dict[str, str]:
    """For a program of the real node's packages that runs outside of it."""
    libraries = ":".join(str(path) for path in (packages.path() / "lib").glob("*-linux-gnu"))
    plugins = next((packages.path() / "lib").glob("*-linux-gnu/xtables"))
    return {**os.environ, "LD_LIBRARY_PATH": libraries, "XTABLES_LIBDIR": str(plugins)}


def _printed(command: list[str], environment: Mapping[str, str] | None = None) -> list[str]:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()

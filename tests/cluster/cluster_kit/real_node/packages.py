"""What a real node takes from Debian: containerd, runc, CNI plugins, iptables and conntrack, with their libraries.

They are unpacked into a cache, never installed: no service starts, nothing is configured. The node sees them laid over
its /usr. What is built from Go modules is in `tools`.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster_kit import tools
from cluster_kit.tools import Unavailable

PACKAGES = (
    "containerd",
    "runc",
    "containernetworking-plugins",
    "iptables",
    "conntrack",
    "libip4tc2",
    "libip6tc2",
    "libmnl0",
    "libnetfilter-conntrack3",
    "libnfnetlink0",
    "libnftnl11",
    "libseccomp2",
    "libxtables12",
)
IPTABLES = [f"{family}{verb}" for family in ("iptables", "ip6tables") for verb in ("", "-restore", "-save")]
"""What update-alternatives would have linked."""
CNI_PLUGINS = "/usr/lib/cni"


def path() -> Path:
    """Where the packages' /usr is, or will be."""
    release = Path("/etc/os-release")
    what = "\0".join([*PACKAGES, release.read_text() if release.exists() else ""])
    return tools.cache() / f"debian-{hashlib.sha256(what.encode()).hexdigest()[:24]}"


def unpack() -> None:
    """Fetch and unpack them, unless they are there. Raises Unavailable."""
    final = path()
    with tools.locked("debian"):
        if final.exists():
            return
        for program in ("apt-get", "dpkg"):
            if shutil.which(program) is None:
                raise Unavailable(f"a real node's containerd comes from Debian's packages, and {program} is not here")
        print("fetching containerd, runc and what they need from Debian", file=sys.stderr, flush=True)
        unfinished = final.with_name(f"{final.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        _fetch(unfinished)
        _unpack(unfinished)
        (unfinished / "root" / "usr").rename(final)
        shutil.rmtree(unfinished)


def _fetch(folder: Path) -> None:
    """Into `folder`/packages, with package lists of our own: those of the machine stay as they are, or missing."""
    for name in ("lists", "cache", "packages"):
        (folder / name).mkdir(parents=True)
    settings = [f"Dir::State::lists={folder / 'lists'}", f"Dir::Cache={folder / 'cache'}", "APT::Sandbox::User=root"]
    apt = ["apt-get", "-qq", *(argument for setting in settings for argument in ("-o", setting))]
    _run([*apt, "update"], folder)
    _run([*apt, "download", *PACKAGES], folder / "packages")


def _unpack(folder: Path) -> None:
    root = folder / "root"
    for package in sorted((folder / "packages").glob("*.deb")):
        _run(["dpkg", "-x", str(package), str(root)], folder)
    for name in IPTABLES:
        (root / "usr" / "sbin" / name).symlink_to("xtables-nft-multi")


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"a real node's packages: {command[0]} {command[-1]}: {done.stderr.strip()[-1000:]}")

"""A machine that cannot have a real node says why, and nothing is made on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from cluster_kit.real_node import sandbox

pytestmark = pytest.mark.test_bed
CLUSTER = Path(__file__).resolve().parent
CHECK = """
import os, sys
from pathlib import Path
from cluster_kit import layout, tools
from cluster_kit.real_node import sandbox
os.seteuid(int(sys.argv[2]))
try:
    sandbox.check(Path(sys.argv[1]))
    with sandbox.claimed_link() as link:
        print("network", link)
except tools.Unavailable as why:
    print(why)
"""
OWN_NETWORK = ("unshare", "--net")


def refusal_of_this_machine() -> str:
    """Why no other machine can be made of it; empty where that can be."""
    if os.geteuid() != 0:
        return "takes root to take a right away"
    try:
        done = subprocess.run([*OWN_NETWORK, "ip", "link"], capture_output=True, text=True, check=False)
    except FileNotFoundError as missing:
        return str(missing)
    return f"takes a network of its own: {done.stderr.strip()}" if done.returncode != 0 else ""


REFUSAL = refusal_of_this_machine()
ROOT = pytest.mark.skipif(bool(REFUSAL), reason=REFUSAL)


def said(folder: Path, *, before: Sequence[str] = (), user: int = 0, path: str | None = None) -> str:
    """What the check says of the machine that a command makes of this one."""
    environment = {**os.environ, "PYTHONPATH": str(CLUSTER), "PATH": path or os.environ["PATH"]}
    command = [*before, sys.executable, "-c", CHECK, str(folder), str(user)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert not folder.exists()
    return done.stdout.strip()


def with_addresses(*addresses: str) -> list[str]:
    """A network of its own in which these are taken."""
    commands = [f"ip address add {address}/32 dev lo" for address in addresses]
    return [*OWN_NETWORK, "sh", "-ec", "\n".join([*commands, 'exec "$@"']), "sh"]


@ROOT
def test_a_user_other_than_root_is_refused(tmp_path: Path) -> None:
    assert "takes root" in said(tmp_path / "cluster", user=65534)


@ROOT
def test_without_the_right_to_make_namespaces(tmp_path: Path) -> None:
    bound = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    refusal = said(tmp_path / "cluster", before=bound)
    assert refusal.startswith("a real node takes namespaces of its own: unshare")
    assert "Operation not permitted" in refusal


@ROOT
def test_without_a_program(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("nsenter", "unshare"):
        (programs / name).symlink_to(str(shutil.which(name)))
    assert said(tmp_path / "cluster", path=str(programs)) == (
        "a real node takes ip, which is not here: apt-get install iproute2"
    )


@ROOT
@pytest.mark.parametrize("place", ["/run/whisper", "/var/lib/whisper"])
def test_a_node_with_files_of_its_own_is_refused(place: str) -> None:
    assert f"has a {Path(place).parent} of its own" in said(Path(place))


@ROOT
def test_where_layers_cannot_be_laid_over_each_other(tmp_path: Path) -> None:
    folders = " ".join(f'"{tmp_path}/{name}"' for name in ("lower", "upper", "work", "whole"))
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    script = f'mkdir {folders}; mount -t overlay -o "{options}" overlay "{tmp_path}/whole" || true; exec "$@"'
    refusal = said(tmp_path / "whole" / "cluster", before=["unshare", "--mount", "sh", "-ec", script, "sh"])
    assert refusal.startswith("a real node takes a folder that overlayfs can use, unlike those below")


@ROOT
def test_a_network_in_use_is_skipped(tmp_path: Path) -> None:
    assert said(tmp_path / "cluster", before=with_addresses("10.99.0.2")) == "network 1"
    assert said(tmp_path / "cluster", before=OWN_NETWORK) == "network 0"


@ROOT
def test_two_on_their_way_up_get_a_network_each() -> None:
    with sandbox.claimed_link() as first:
        with sandbox.claimed_link() as second:
            assert second != first
        with sandbox.claimed_link() as again:
            assert again == second


@ROOT
def test_where_all_networks_are_taken(tmp_path: Path) -> None:
    taken = with_addresses(*(f"10.99.{link}.1" for link in range(sandbox.LINKS)))
    refusal = said(tmp_path / "cluster", before=taken)
    assert f"one of {sandbox.LINKS} networks from 10.99.0.0/30 on, and none is free" in refusal
    assert "lo has 10.99.0.1" in refusal

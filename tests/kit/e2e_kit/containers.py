"""Containers of the images under test, without a container runtime: unpacked archives, run in namespaces of their own.

As Docker and Kubernetes would: the image's entry point, environment and volumes, a read-only root, a user that the image
does not know. Takes root, unshare and nsenter. What is asked of them is elsewhere.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from cluster_kit.tools import Unavailable

WHITEOUT = ".wh."
USER = "12345:0"
"""As OpenShift gives: any number, in group 0."""
INSIDE = """
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
for volume in $2; do mount -t tmpfs -o mode=1777 volume "$1$volume"; done
if [ "$3" = own ]; then
  ip link set lo up
  echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start
fi
root=$1 user=$4
shift 4
exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all,+sys_chroot,+setuid,+setgid \
  chroot --userspec="$user" --groups= "$root" /usr/bin/env -i "$@"
"""
"""A tmpfs, not a copy of what the image has there: that is what Kubernetes mounts. The user has no capability and gets none
by a program, as PodSecurity `restricted` asks for."""


@dataclass(frozen=True)
class Image:
    """An archive, and its files as they lie in a container."""

    name: str
    layer_bytes: tuple[int, ...]
    """The first layer is the base."""
    config: dict[str, Any]
    root: Path

    @property
    def on_top_bytes(self) -> int:
        return sum(self.layer_bytes[1:])

    @property
    def environment(self) -> dict[str, str]:
        return dict(pair.split("=", 1) for pair in self.config["Env"])

    @property
    def volumes(self) -> tuple[str, ...]:
        return tuple(self.config.get("Volumes") or ())

    @property
    def health_check(self) -> tuple[str, ...]:
        kind, *command = self.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        return tuple(command)


@dataclass(frozen=True)
class Container:
    """What runs; its process is number 1 inside."""

    popen: subprocess.Popen[str]
    pid: int
    environment: tuple[str, ...]
    """As it was started with, NAME=VALUE. `/proc/PID/environ` is empty for a moment while a process replaces itself."""

    def wait_for_line(self, line: str) -> None:
        """Until what runs says it: before, it may not have changed to its root yet."""
        assert self.popen.stdout is not None
        said = self.popen.stdout.readline()
        assert said == f"{line}\n", said

    def execute(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Beside it, as a health check runs."""
        uid, gid = USER.split(":")
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--root", "--wd=/"]
        enter += [f"--setuid={uid}", f"--setgid={gid}", "/usr/bin/env", "-i", *self.environment]
        return subprocess.run([*enter, *command], capture_output=True, text=True, check=False, timeout=60)


def check_machine() -> None:
    """Raises Unavailable where containers cannot be run."""
    if os.geteuid() != 0:
        raise Unavailable("containers take root here")
    for program in ("unshare", "nsenter", "setpriv", "chroot", "ip", "tar"):
        if shutil.which(program) is None:
            raise Unavailable(f"containers take {program}")


@contextmanager
def unpacked(archive: Path) -> Iterator[Image]:
    """The image of an archive, as `docker save` writes them."""
    folder = Path(tempfile.mkdtemp(prefix="whisper-image-"))
    try:
        with tarfile.open(archive) as tar:
            manifest = json.loads(_read(tar, "manifest.json"))[0]
            config = json.loads(_read(tar, manifest["Config"]))["config"]
            sizes = tuple(tar.getmember(layer).size for layer in manifest["Layers"])
            for layer in manifest["Layers"]:
                _untar(archive, folder / "layers", layer)
                _apply(folder / "layers" / layer, folder / "root")
        yield Image(manifest["RepoTags"][0], sizes, config, folder / "root")
    finally:
        shutil.rmtree(folder)


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()


def _apply(layer: Path, root: Path) -> None:
    with tarfile.open(layer) as tar:
        for name in map(Path, tar.getnames()):
            if name.name.startswith(WHITEOUT):
                gone = root / name.parent / name.name.removeprefix(WHITEOUT)
                if gone.is_dir() and not gone.is_symlink():
                    shutil.rmtree(gone)
                else:
                    gone.unlink(missing_ok=True)
    _untar(layer, root, f"--exclude={WHITEOUT}*", "--numeric-owner", "-p")
    layer.unlink()


def _untar(archive: Path, folder: Path, *arguments: str) -> None:
    """With the program: Python's own knows how to refuse what leads out of the folder only since 3.11.4."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["tar", "-C", folder, "-xf", archive, *arguments], check=True, capture_output=True)


@contextmanager
def running(
    image: Image, environment: Mapping[str, str], *arguments: str, network: str = "host", command: Sequence[str] = ()
) -> Iterator[Container]:
    """A container; `network` is host, or own. Gone afterwards, with all its processes."""
    written = [f"{name}={value}" for name, value in {**image.environment, **environment}.items()]
    spaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
    spaces += ["--net"] if network == "own" else []
    inside = [str(image.root), " ".join(image.volumes), network, USER, *written]
    popen = subprocess.Popen(
        [*spaces, "sh", "-euc", INSIDE, "sh", *inside, *(command or image.config["Entrypoint"]), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Container(popen, _first_child(popen), tuple(written))
    finally:
        for child in psutil.Process(popen.pid).children() if popen.poll() is None else []:
            with suppress(psutil.NoSuchProcess):
                child.send_signal(signal.SIGKILL)
        popen.communicate(timeout=30)


def _first_child(popen: subprocess.Popen[str]) -> int:
    while popen.poll() is None:
        children = psutil.Process(popen.pid).children()
        if children:
            return children[0].pid
    return popen.pid

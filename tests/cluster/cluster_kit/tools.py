"""The Go programs that a cluster is made of, built from pinned modules into a cache.

A tool is a folder with go.mod and go.sum under tests/cluster/tools and one line of `TOOLS`. Each is keyed by what goes
into it, so that a change builds one anew; two processes that want the same one wait for each other. What runs is
elsewhere.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MANIFESTS = Path(__file__).resolve().parents[1] / "tools"
KUBERNETES = "1.35"
FLAGS = ("-trimpath", "-pgo=off")
ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}


class Unavailable(Exception):
    """This machine cannot have the cluster; the message says why and what to do."""


@dataclass(frozen=True)
class Tool:
    """A Go program: the folder of its manifest, its package, and the values stamped into it."""

    manifest: str
    package: str
    stamps: tuple[tuple[str, str], ...] = ()

    @property
    def link_flags(self) -> str:
        return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in self.stamps)])


def _kubernetes(program: str) -> Tool:
    """Unstamped, it would call itself v0.0.0-master, and every chart's kubeVersion would refuse it."""
    major, minor = KUBERNETES.split(".")
    values = {"gitVersion": f"v{KUBERNETES}.4", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    stamps = tuple((f"{package}.{name}", value) for package in packages for name, value in values.items())
    return Tool("kubernetes", f"k8s.io/kubernetes/cmd/{program}", stamps)


def _helm_stamps() -> tuple[tuple[str, str], ...]:
    """What `helm template` and `helm lint` take for the cluster's version: 1.20, were they not told."""
    major, minor = KUBERNETES.split(".")
    packages = ("helm.sh/helm/v3/pkg/chartutil", "helm.sh/helm/v3/pkg/lint/rules")
    versions = (("k8sVersionMajor", major), ("k8sVersionMinor", minor))
    return tuple((f"{package}.{name}", value) for package in packages for name, value in versions)


TOOLS: Mapping[str, Tool] = {
    "kubectl": _kubernetes("kubectl"),
    "helm": Tool("helm", "helm.sh/helm/v3/cmd/helm", _helm_stamps()),
    "kine": Tool("kine", "github.com/k3s-io/kine"),
    "kwok": Tool("kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    "kube-apiserver": _kubernetes("kube-apiserver"),
    "kube-controller-manager": _kubernetes("kube-controller-manager"),
    "kube-scheduler": _kubernetes("kube-scheduler"),
    "kubelet": _kubernetes("kubelet"),
    "kube-proxy": _kubernetes("kube-proxy"),
    "pause": Tool("pause", "."),
    "contour": Tool("contour", "github.com/projectcontour/contour/cmd/contour"),
    "coredns": Tool("coredns", "github.com/coredns/coredns"),
    "registry": Tool("distribution", "github.com/distribution/distribution/v3/cmd/registry"),
    "versitygw": Tool("versitygw", "github.com/versity/versitygw/cmd/versitygw"),
    "helm-unittest": Tool("helm-unittest", "github.com/helm-unittest/helm-unittest/cmd/helm-unittest", _helm_stamps()),
}
NODE_TOOLS = ("kubelet", "kube-proxy", "pause", "contour", "coredns")
"""What a real node takes besides."""
CHART_TOOLS = ("helm", "helm-unittest")
"""What tests of charts take that need no cluster."""
MODEL_STORES = ("registry", "versitygw")
"""An OCI registry and S3-compatible storage; building them takes some 240 CPU seconds."""
CLUSTER_TOOLS = tuple(name for name in TOOLS if name not in {*NODE_TOOLS, *MODEL_STORES, "helm-unittest"})
"""What a cluster cannot do without."""
FOR: Mapping[str, tuple[str, ...]] = {
    "simulated": CLUSTER_TOOLS,
    "real": (*CLUSTER_TOOLS, *NODE_TOOLS),
    "charts": CHART_TOOLS,
    "all": tuple(TOOLS),
}
"""What each purpose takes."""


def cache() -> Path:
    """Where the built tools are: one folder per key, and `bin` with a link to the newest of each."""
    return Path(os.environ.get("WHISPER_TOOLS_CACHE") or Path.home() / ".cache" / "whisper-k8s-tools")


def key(tool: Tool) -> str:
    manifest = MANIFESTS / tool.manifest
    parts = [(manifest / name).read_bytes() for name in ("go.mod", "go.sum")]
    parts += [source.read_bytes() for source in sorted(manifest.glob("*.go"))]
    parts.append("\0".join([tool.package, tool.link_flags, *FLAGS, str(sorted(ENVIRONMENT.items()))]).encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def path(name: str) -> Path:
    """Where the tool is, or will be."""
    return cache() / key(TOOLS[name]) / "bin" / name


def missing(names: Iterable[str] = CLUSTER_TOOLS) -> list[str]:
    return [name for name in names if not path(name).exists()]


def build(names: Iterable[str] = CLUSTER_TOOLS) -> None:
    """Build those that are missing, one at a time, and say so. Raises Unavailable."""
    names = list(names)
    lacking = missing(names)
    for name in names:
        if missing([name]):
            with locked(name):
                if missing([name]):
                    place = lacking.index(name) + 1 if name in lacking else len(lacking)
                    _build(name, f"{place} of {len(lacking)}")
        _link(name)


def _build(name: str, place: str) -> None:
    """Into a folder beside the final one, then renamed: a tool in the cache is whole."""
    tool = TOOLS[name]
    go = _go(MANIFESTS / tool.manifest)
    started_s = time.monotonic()
    print(f"building {name} ({tool.package}), {place}", file=sys.stderr, flush=True)
    final = path(name).parents[1]
    unfinished = final.with_name(f"{final.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    command = ["nice", go, "build", *FLAGS, "-ldflags", tool.link_flags, "-o", str(unfinished / "bin" / name)]
    built = subprocess.run(
        [*command, tool.package],
        cwd=MANIFESTS / tool.manifest,
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode != 0:
        raise Unavailable(f"{name} cannot be built from {tool.manifest}/go.mod:\n{built.stderr[-4000:]}")
    shutil.rmtree(final, ignore_errors=True)
    unfinished.rename(final)
    print(f"built {name} in {time.monotonic() - started_s:.0f} s", file=sys.stderr, flush=True)


def module(manifest: str, name: str) -> Path:
    """The source of a Go module, as the manifest pins it: for what is no program in it. Raises Unavailable."""
    folder = MANIFESTS / manifest
    command = [_go(folder), "mod", "download", "-json", name]
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"{name} cannot be had: {done.stderr.strip()[-2000:]}")
    return Path(json.loads(done.stdout)["Dir"])


def _go(manifest: Path) -> str:
    """The go command, which must be new enough for the manifest or be allowed to fetch one that is."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
    if go is None:
        raise Unavailable("the test cluster is built by Go, which is not here: put a `go` of 1.26 or newer on PATH")
    asked = [go, "env", "GOVERSION"]
    answer = subprocess.run(
        asked, cwd=manifest, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        raise Unavailable(f"{go} cannot build {manifest.name}: {answer.stderr.strip()}")
    return go


def _link(name: str) -> None:
    """Renew the link under `bin`, which is for people: `export PATH=~/.cache/whisper-k8s-tools/bin:$PATH`."""
    link = cache() / "bin" / name
    target = os.path.relpath(path(name), link.parent)
    if link.is_symlink() and str(link.readlink()) == target:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    new = link.with_name(f".{name}.{os.getpid()}")
    new.symlink_to(target)
    new.replace(link)


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Nobody else, in whatever process, makes what goes by this name in the cache."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

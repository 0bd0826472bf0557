"""Files from elsewhere → a folder that appears as a whole: no server finds a half-fetched model.

A download that was cut off is continued where it stopped, also by the next process; sizes and digests are checked. The
content of a version never changes, so its folder's name is made of the version.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from filelock import FileLock

from whisper_server.engines.model_sources.archives import unpack
from whisper_server.engines.model_sources.fetch_error import ConnectionLost, FetchError
from whisper_server.engines.model_sources.model_files import model_within, path_within
from whisper_server.engines.model_sources.progress import MB, Progress

log = logging.getLogger(__name__)

WAITS_S = (1.0, 2.0, 4.0, 8.0)
"""Before a lost connection is tried again; one that brought bytes starts from the first."""
LATEST = "latest"


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file of a model, or an archive with files of it."""

    name: str
    n_bytes: int | None
    read: Callable[[int], tuple[int, Iterator[bytes]]]
    """From this offset on, or from an earlier one where the server knows no ranges: the offset, and the bytes. Raises FetchError."""
    sha256: str = ""
    is_archive: bool = False


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One version of a model."""

    version: str
    """Changes with the content; empty: the server does not say, so nothing is kept from one start to the next."""
    files: tuple[RemoteFile, ...]


class Source(Protocol):
    """Where a model is."""

    @property
    def pinned(self) -> str:
        """The version, where the address itself says it: then a copy on the disk needs no network. Else empty."""
        ...

    def list(self) -> Listing:
        """What is there now. Raises FetchError."""
        ...


def fetched_folder(model: str, source: Source, kept: Path) -> Path:
    """The folder of `model` among the copies in `kept`, fetched unless it is there. Raises FetchError or OSError."""
    if source.pinned and (kept / _name_of(source.pinned)).exists():
        return kept / _name_of(source.pinned)
    try:
        listing = source.list()
    except FetchError as error:
        latest = _latest(kept)
        if latest is None:
            raise
        log.warning("%s cannot be asked for (%s): its copy of an earlier start is used", model, error.reason)
        return latest
    kept.mkdir(parents=True, exist_ok=True)
    target = kept / _name_of(listing.version)
    with FileLock(kept / ".lock"):
        if not (target.exists() and listing.version):
            _fetch(model, listing, target, Progress(model, sum(file.n_bytes or 0 for file in listing.files)))
        _write_latest(kept, target.name)
    return target


def _fetch(model: str, listing: Listing, target: Path, progress: Progress) -> None:
    working = target.with_name(f"{target.name}.partial")
    if not listing.version:
        shutil.rmtree(working, ignore_errors=True)
        shutil.rmtree(target, ignore_errors=True)
    working.mkdir(exist_ok=True)
    _require_space(listing, working)
    log.info("Fetching %s into %s", model, target)
    for file in listing.files:
        done = working / f"{file.name}.unpacked" if file.is_archive else path_within(working, file.name)
        if done.exists():
            continue
        path = path_within(working, f"{file.name}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(file, path, progress)
        if file.is_archive:
            unpack(path, working)
            path.unlink()
            done.touch()
        else:
            path.rename(done)
    progress.end()
    model_within(working).rename(target)
    shutil.rmtree(working, ignore_errors=True)


def _require_space(listing: Listing, folder: Path) -> None:
    """An archive is there twice until it is unpacked; a part of an earlier attempt is not asked for again."""
    there = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    sizes = [(file.n_bytes or 0, file.is_archive) for file in listing.files]
    largest_archive = max((size for size, is_archive in sizes if is_archive), default=0)
    wanted = sum(size for size, _ in sizes) + largest_archive - there
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise FetchError(
            f"it needs {wanted / MB:.0f} MB more in {folder.parent.parent}, where {free / MB:.0f} MB are free: No space left on device",
            "make room there, or set it to another folder",
            setting="HF_HOME",
        )


def _download(file: RemoteFile, path: Path, progress: Progress) -> None:
    waits = iter(WAITS_S)
    progress.add(_size_of(path))
    while True:
        size = _size_of(path)
        try:
            if file.n_bytes is None or size < file.n_bytes:
                _read_on(file, path, size, progress)
            break
        except ConnectionLost:
            if _size_of(path) > size:
                waits = iter(WAITS_S)
            wait_s = next(waits, None)
            if wait_s is None:
                raise
            time.sleep(wait_s)
    _check(file, path)


def _read_on(file: RemoteFile, path: Path, size: int, progress: Progress) -> None:
    begin, chunks = file.read(size if file.n_bytes is not None else 0)
    with path.open("r+b" if path.exists() else "wb") as written:
        written.truncate(begin)
        written.seek(begin)
        for chunk in chunks:
            written.write(chunk)
            progress.add(len(chunk))
            if file.n_bytes is not None and written.tell() > file.n_bytes:
                break  # else an answer without end fills the disk
        written.flush()
        os.fsync(written)  # otherwise a power failure may keep the name and lose the content


def _check(file: RemoteFile, path: Path) -> None:
    """A file that is not what it should be is removed, so that the next start fetches it again."""
    size = path.stat().st_size
    if file.n_bytes is not None and size != file.n_bytes:
        path.unlink()
        raise FetchError(f"{file.name} has {size} bytes, not {file.n_bytes}", "look for what cuts it off on the way")
    if file.sha256:
        with path.open("rb") as written:
            found = hashlib.file_digest(written, "sha256").hexdigest()
        if found != file.sha256:
            path.unlink()
            raise FetchError(
                f"{file.name} has the sha256 {found}, not {file.sha256}",
                "put the right file there, or write its own sha256",
            )


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _name_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _latest(kept: Path) -> Path | None:
    with suppress(OSError):
        folder = kept / (kept / LATEST).read_text().strip()
        return folder if folder.is_dir() and folder != kept else None
    return None


def _write_latest(kept: Path, name: str) -> None:
    new = kept / f"{LATEST}.new"
    new.write_text(name)
    new.replace(kept / LATEST)

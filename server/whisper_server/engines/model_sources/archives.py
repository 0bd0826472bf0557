"""The model's files out of a tar or zip archive from elsewhere, which may be made to harm.

Only regular files whose names are those of a model are written. Links are refused, and so are names that lead out of the
folder and archives that would fill the disk.
"""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from whisper_server.engines.model_sources.fetch_error import FetchError, one_line
from whisper_server.engines.model_sources.model_files import is_model_file, path_within
from whisper_server.engines.model_sources.progress import MB

MAX_BYTES = 64_000_000_000
"""large-v3 in float32 has 6.2 GB."""
MAX_RATIO = 100
"""Unpacked to packed. Weights shrink by less than 2, a tokenizer's JSON by 10; gzip reaches 1,000 with zeros only."""
MAX_MEMBERS = 100_000
"""An image's layer has some thousands of files."""
SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")


def unpack(archive: Path, folder: Path) -> None:
    """Write the archive's model files into the folder. Raises FetchError or OSError."""
    most = min(MAX_BYTES, MAX_RATIO * archive.stat().st_size)
    written = 0
    with _opened(archive) as members, closing(members):
        for name, size, content in members:
            written += size
            if written > most:
                raise FetchError(
                    f"it unpacks to more than {most / MB:.0f} MB, which no model of its size does", "make another one"
                )
            path = path_within(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                shutil.copyfileobj(content, file, 1024 * 1024)
                file.flush()
                os.fsync(file)  # otherwise a power failure may keep the name and lose the content


UNREADABLE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,  # zipfile's, for a password
)
Members = Generator[tuple[str, int, IO[bytes]]]


@contextmanager
def _opened(archive: Path) -> Iterator[Members]:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened_zip:
                yield _zip_members(opened_zip)
        else:
            with tarfile.open(archive, "r:*") as opened_tar:
                yield _tar_members(opened_tar)
    except UNREADABLE as error:
        raise FetchError(
            f"it is no archive that can be read ({one_line(error)})",
            f"make it one of {', '.join(SUFFIXES)}, without a password",
        ) from error


def _tar_members(archive: tarfile.TarFile) -> Members:
    for index, member in enumerate(archive):
        _require_few(index)
        if not is_model_file(member.name):
            continue
        if not member.isreg():
            _refuse_link(member.name)
        content = archive.extractfile(member)
        assert content is not None  # a regular file
        yield member.name, member.size, content


def _zip_members(archive: zipfile.ZipFile) -> Members:
    for index, member in enumerate(archive.infolist()):
        _require_few(index)
        if member.is_dir() or not is_model_file(member.filename):
            continue
        if stat.S_ISLNK(member.external_attr >> 16):
            _refuse_link(member.filename)
        with archive.open(member) as content:
            yield member.filename, member.file_size, content


def _require_few(index: int) -> None:
    if index >= MAX_MEMBERS:
        raise FetchError(f"it holds more than {MAX_MEMBERS} files", "make it of the model's files alone")


def _refuse_link(name: str) -> None:
    raise FetchError(f"{name} in it is a link, not a file", "make it with `tar --dereference`")

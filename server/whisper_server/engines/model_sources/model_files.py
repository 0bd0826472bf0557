"""Which files of a repository, a bucket or an archive make a model, and which folder of them is the model."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from whisper_server.engines.model_sources.fetch_error import FetchError

FILES = ("*.json", "*.safetensors", "model.bin", "vocabulary.*")
OTHER_FILES = ("*/*", "*.fp32*")
"""Copies for other programs, and the second, larger set of weights that some repositories have."""
WEIGHTS = ("*.safetensors", "model.bin")


def is_model_file(name: str) -> bool:
    """Whether the file of that name, folders left out, is one that the server reads."""
    base = PurePosixPath(name).name
    return _matches(base, FILES) and not _matches(base, OTHER_FILES)


def path_within(folder: Path, name: str) -> Path:
    """The path of a file with this name from outside. Raises FetchError for one that leads out of the folder."""
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or "\\" in name or "\0" in name or not relative.parts:
        raise FetchError(f"it holds a file named {name!r}, which leads out of its folder", "make it with plain names")
    return folder / relative


def model_within(folder: Path) -> Path:
    """The one folder in `folder`, or `folder` itself, that has a model. Raises FetchError where there is none, or several."""
    found = [config.parent for config in folder.rglob("config.json") if _has_weights(config.parent)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(sorted(str(one.relative_to(folder)) for one in found))
        raise FetchError(f"it holds several models ({names})", "give each an address of its own")
    raise FetchError(
        "it holds no folder with config.json and weights",
        "make it of a whole Whisper checkpoint with safetensors weights, or of a CTranslate2 folder",
    )


def _has_weights(folder: Path) -> bool:
    return any(_matches(path.name, WEIGHTS) for path in folder.iterdir())


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)

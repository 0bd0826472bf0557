"""Ends vLLM's process when the server ends, however it ends: an orphan would hold the GPU's memory.

vLLM itself waits forever for a server that was killed. The kernel's PR_SET_PDEATHSIG, which the audio workers use, does
not fit: it fires when the *thread* that started the process ends (prctl(2)), and vLLM chooses that thread.
"""

from __future__ import annotations

import multiprocessing
import os
import threading


def exit_with_parent() -> None:
    """Start a thread that ends this process as soon as the process that started it has ended."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="parent-watchdog", daemon=True).start()

"""The start of a command: signals that arrive before its event loop handles them."""

from __future__ import annotations

import os
import signal


def exit_on_signals() -> None:
    """End the process with code 0 on SIGTERM and SIGINT, until the program installs handlers of its own.

    As process 1 of a container it would otherwise ignore SIGTERM while it loads.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))

"""The start of a command: the settings in its `--help`, and signals that arrive before its event loop handles them."""

from __future__ import annotations

import dataclasses
import os
import signal
from typing import Any


def exit_on_signals() -> None:
    """End the process with code 0 on a signal that stops the program, until the program installs handlers of its own.

    As process 1 of a container it would otherwise ignore SIGTERM while it loads.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, lambda *_: os._exit(0))


def settings_help(settings: type[Any], *more: str) -> str:
    """The table of variables for `--help`; `more` are lines to append."""
    lines = ["Settings are environment variables:"]
    for field in dataclasses.fields(settings):
        if "help" in field.metadata:
            default = field.metadata["default"]
            shown = "required" if default is None else f"default {default}" if default else "default empty"
            lines += [f"  {field.name.upper()} ({shown})", f"      {field.metadata['help']}"]
    return "\n".join((*lines, *more))

"""The command `whisper-operator`: reads the environment and runs. The only module that reads `os.environ`."""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from whisper_operator import __version__
from whisper_operator.errors import StartError
from whisper_operator.settings import Settings

CANNOT_START = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code of the process: 0 after SIGTERM or to be restarted, 1 after a fatal error, 2 if it could not start."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # The kernel drops SIGTERM for process 1 of a container until that process installs a handler.
        signal.signal(number, lambda *_: os._exit(0))
    _parser().parse_args(arguments)
    try:
        settings = Settings.from_env(os.environ, lambda path: Path(path).read_text(encoding="utf-8"))
        # Importing kopf and the client takes a second; a wrong setting is reported before that.
        from whisper_operator.controller_manager import run

        run(settings)
    except StartError as problem:
        print(f"whisper-operator: {problem}", file=sys.stderr)  # noqa: T201 - for the person who started it
        return CANNOT_START


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="whisper-operator",
        description="Creates and maintains what each WhisperEndpoint needs. Runs in a pod, or anywhere with a kubeconfig.",
        epilog=settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"whisper-operator {__version__}")
    return parser


def settings_help() -> str:
    """The table of variables, from the dataclass that reads them."""
    lines = ["Settings are environment variables:"]
    for field in dataclasses.fields(Settings):
        if "help" in field.metadata:
            default = field.metadata["default"]
            shown = "required" if default is None else f"default {default}" if default else "default empty"
            lines += [f"  {field.name.upper()} ({shown})", f"      {field.metadata['help']}"]
    lines += [
        "  DEFAULTS_FILE (default empty)",
        "      JSON file with the defaults for every endpoint's pods; see the chart",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

"""The command `whisper-operator`: reads the environment and runs. The only module that reads `os.environ`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from whisper_operator import __version__
from whisper_operator.errors import StartError
from whisper_operator.settings import Settings
from whisper_runtime.command import exit_on_signals, settings_help

CANNOT_START = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code of the process: 0 after SIGTERM or to be restarted, 1 after a fatal error, 2 if it could not start."""
    exit_on_signals()
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
        epilog=settings_help(
            Settings,
            "  DEFAULTS_FILE (default empty)",
            "      JSON file with the defaults for every endpoint's pods; see the chart",
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"whisper-operator {__version__}")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""The command `whisper-server`: reads arguments and environment, and serves over HTTP or transcribes files.

Slow imports are inside the functions: a signal that arrives during them must end the process cleanly.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from whisper_runtime.command import exit_on_signals, settings_help
from whisper_server import __version__
from whisper_server.errors import StartError


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 success, 1 cannot start, 2 wrong arguments, 130 Ctrl-C in `transcribe`."""
    exit_on_signals()
    args = _parser().parse_args(arguments)
    try:
        return _transcribe(args) if args.command == "transcribe" else _serve()
    except StartError as problem:
        print(f"whisper-server: {problem}", file=sys.stderr)  # noqa: T201 - for the person who started it
        return 1


def _parser() -> argparse.ArgumentParser:
    from whisper_server.settings import Settings
    from whisper_server.transcribe_files import add_arguments

    parser = argparse.ArgumentParser(
        prog="whisper-server",
        description="Speech to text with Whisper behind OpenAI's audio API. Without a command: serve over HTTP.",
        epilog=settings_help(Settings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"whisper-server {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("serve", help="serve over HTTP (the default)")
    add_arguments(commands.add_parser("transcribe", help="transcribe files here and now, without HTTP"))
    return parser


def _serve() -> int:
    from whisper_server.backend import load_backend
    from whisper_server.serve import run
    from whisper_server.settings import Settings

    return run(Settings.from_env(os.environ), load_backend)


def _transcribe(args: argparse.Namespace) -> int:
    from whisper_server.settings import Settings
    from whisper_server.transcribe_files import run

    # The exit code of an interrupted transcription shows that it is not complete.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return run(Settings.from_env(os.environ), args)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())

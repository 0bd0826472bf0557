"""The command `whisper-server`: reads arguments and environment, and serves over HTTP, fetches the model or transcribes files.

Slow imports are inside the functions: a signal that arrives during them must end the process cleanly.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from whisper_runtime.command import exit_on_signals, settings_help
from whisper_server import __version__
from whisper_server.errors import StartError

if TYPE_CHECKING:
    from whisper_server.settings import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 success, 1 cannot start, 2 wrong arguments, 130 Ctrl-C in `transcribe`."""
    exit_on_signals()
    args = _parser().parse_args(arguments)
    try:
        if args.command == "fetch":
            return _fetch()
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
    commands.add_parser("fetch", help="download (and convert) the model of MODEL_ID into its cache, and end")
    add_arguments(commands.add_parser("transcribe", help="transcribe files here and now, without HTTP"))
    return parser


def _serve() -> int:
    from whisper_server.backend import load_backend
    from whisper_server.serve import run

    return run(settings_from_environment(), load_backend)


def _fetch() -> int:
    from whisper_server.engines import fetch
    from whisper_server.process.logs import configure_logging

    settings = settings_from_environment()
    configure_logging(settings.log_format, settings.log_level)
    fetch(settings)
    return 0


def settings_from_environment() -> Settings:
    """The settings; secrets are taken out of the environment, which child processes and /proc/PID/environ show.

    `os.environ.pop` alone leaves the text where the kernel put it, and /proc reads it from there.
    """
    from whisper_server.settings import Settings

    settings = Settings.from_env(os.environ)
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_void_p
    for name in Settings.secret_variables():
        if (address := getenv(name.encode())) is not None:
            ctypes.memset(address, 0, len(os.environb[name.encode()]))
        os.environ.pop(name, None)
    return settings


def _transcribe(args: argparse.Namespace) -> int:
    from whisper_server.transcribe_files import run

    # The exit code of an interrupted transcription shows that it is not complete.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return run(settings_from_environment(), args)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())

"""The command `whisper-server`: reads arguments and environment, and starts one of the two things it can do.

Imports of weight are inside the functions: a signal that comes while they load must end the process cleanly.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence

from whisper_server import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 as asked, 1 where it could not start, 2 for wrong arguments."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # As process 1 of a container it would otherwise not even hear SIGTERM before the server listens to it.
        signal.signal(number, lambda *_: os._exit(0))
    from whisper_server.errors import StartError

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


def settings_help(settings: type) -> str:
    """The table of variables, from the dataclass that reads them."""
    import dataclasses

    lines = ["Settings are environment variables (README.md says more of them):"]
    for field in dataclasses.fields(settings):
        default = field.metadata["default"]
        shown = "required" if default is None else default or "empty"
        lines += [f"  {field.name.upper()} ({shown})", f"      {field.metadata['help']}"]
    return "\n".join(lines)


def _serve() -> int:
    from whisper_server.backend import load_backend
    from whisper_server.logs import configure_logging
    from whisper_server.serve import serve
    from whisper_server.settings import Settings

    settings = Settings.from_env(os.environ)
    configure_logging(settings.log_format, settings.log_level)
    runner = asyncio.Runner()
    try:
        outcome = runner.run(serve(settings, load_backend))
        if outcome.loading_abandoned:
            # The thread that loads the model cannot be told to stop, and closing the loop would wait for it.
            logging.shutdown()
            os._exit(outcome.exit_code)
        return outcome.exit_code
    finally:
        runner.close()


def _transcribe(args: argparse.Namespace) -> int:
    from whisper_server.settings import Settings
    from whisper_server.transcribe_files import run

    return run(Settings.from_env(os.environ), args)


if __name__ == "__main__":
    sys.exit(main())

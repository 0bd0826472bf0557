"""Arguments of `whisper-server transcribe`, and what they ask for.

What they mean is decided by the same code as what a form's fields mean. Nothing is transcribed here.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import sys
from pathlib import Path

from whisper_server.api.fields import Granularity, ResponseFormat
from whisper_server.api.values import FieldName, Policy, granularities_of, options_of, parse_values
from whisper_server.errors import BadRequest
from whisper_server.settings import Settings
from whisper_server.transcribe_files.plan import SUFFIXES, RunOptions, SourceFile, output_paths
from whisper_server.whisper.transcript import Task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `transcribe` takes."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="recordings, in any format")
    parser.add_argument("--format", choices=[str(one) for one in SUFFIXES], default="text", help="default: text")
    parser.add_argument("--output-dir", type=Path, metavar="DIR", help="write NAME.srt etc. there; default: stdout")
    parser.add_argument("--language", default="", help="language spoken, such as de or German; default: detected")
    parser.add_argument(
        "--task", choices=[str(task) for task in Task], default="transcribe", help="translate: to English"
    )
    parser.add_argument("--prompt", default="", help="text before the recording: style, spelling, names")
    parser.add_argument("--keyword", action="append", default=[], help="a word to expect; may be repeated")
    parser.add_argument("--temperature", default="", help="0 to 1; default: 0, higher where the text looks wrong")
    parser.add_argument("--word-timestamps", action="store_true", help="with --format verbose_json: times of words too")
    parser.add_argument("--voice-activity", action="store_true", help="leave out where nobody speaks")


def run(settings: Settings, args: argparse.Namespace) -> int:
    """Exit code: 0 done, 1 some file failed, 2 wrong arguments, 128 + n stopped by signal n. Raises StartError."""
    try:
        options = _options(settings, args)
        _prepare(args.output_dir)
    except BadRequest as error:
        print(f"whisper-server: {error.message}", file=sys.stderr)  # noqa: T201 - for the person who started it
        return 2
    from whisper_server.transcribe_files.work import work_until_signal

    outputs = output_paths(args.files, args.output_dir, SUFFIXES[options.response_format])
    recordings = [SourceFile(source, output) for source, output in zip(args.files, outputs, strict=True)]
    return asyncio.run(work_until_signal(settings, options, recordings))


def _prepare(folder: Path | None) -> None:
    """Make the folder, before hours of work find that they have nowhere to go."""
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise BadRequest(f"--output-dir {folder} cannot be written to: {error.strerror}") from error


def _options(settings: Settings, args: argparse.Namespace) -> RunOptions:
    timed = args.word_timestamps
    if timed and args.format != ResponseFormat.VERBOSE_JSON:
        raise BadRequest("--word-timestamps needs --format verbose_json: the other formats have no place for them")
    if len(args.files) > 1 and args.output_dir is None and args.format in {ResponseFormat.SRT, ResponseFormat.VTT}:
        raise BadRequest(f"several files as {args.format} need --output-dir: one after the other they are no subtitles")
    values = {
        "model": ["whisper-1"],
        "response_format": [args.format],
        "language": [args.language],
        "prompt": [args.prompt],
        "keywords": args.keyword,
        "temperature": [args.temperature],
        "timestamp_granularities": list(Granularity) if timed else [],
        "chunking_strategy": ["auto"] if args.voice_activity else [],
    }
    task = Task(args.task)
    fields = parse_values(
        ((FieldName(name, None), text) for name, texts in values.items() for text in texts), task
    ).fields
    options = options_of(fields, task, Policy(settings.language_force, settings.timestamps))
    return RunOptions(options, fields.response_format, granularities_of(fields))

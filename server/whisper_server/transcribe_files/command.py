"""Arguments of `whisper-server transcribe`, and the options that they ask for.

They fill the same `OptionsSpec` as the fields of a form. `work` transcribes.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from whisper_server.api.options import (
    SPEAKER_FORMATS,
    SUBTITLE_FORMATS,
    TIMED_FORMATS,
    Granularity,
    OptionsSpec,
    Policy,
    ResponseFormat,
    keyword,
    speaker_name,
    spoken_language,
)
from whisper_server.api.speakers import MAX_SPEAKERS, SpeakersSpec
from whisper_server.api.subtitles.limits import BOUNDS, CueShape
from whisper_server.errors import BadRequest
from whisper_server.memory.malloc import keep_large_blocks
from whisper_server.settings import Settings
from whisper_server.transcribe_files.plan import SUFFIXES, RunOptions, SourceFile, output_paths
from whisper_server.whisper.transcript import Task, VoiceActivity

T = TypeVar("T")
_LIMITS = {
    "max_line_width": "columns of a line; full-width characters take two",
    "max_line_count": "lines of a subtitle",
    "max_words_per_line": "words of a line",
    "max_cps": "columns per second",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `transcribe`."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="recordings, in any format")
    parser.add_argument("--format", choices=[str(one) for one in SUFFIXES], default="text", help="default: text")
    parser.add_argument("--output-dir", type=Path, metavar="DIR", help="write NAME.srt etc. there; default: stdout")
    parser.add_argument("--language", type=_language, help="language spoken, such as de or German; default: detected")
    parser.add_argument("--task", type=Task, choices=list(Task), default=Task.TRANSCRIBE, help="translate: to English")
    parser.add_argument("--prompt", default="", help="text before the recording: style, spelling, names")
    parser.add_argument(
        "--keyword", type=_keyword, action="append", default=[], help="a word to expect; may be repeated"
    )
    parser.add_argument(
        "--temperature", type=_temperature, help="0 to 1; default: 0, higher where the text looks wrong"
    )
    parser.add_argument("--word-timestamps", action="store_true", help="with --format verbose_json: times of words too")
    parser.add_argument("--diarize", action="store_true", help="name the speakers in verbose_json, srt and vtt")
    parser.add_argument("--num-speakers", type=int, metavar="N", help="how many people speak; default: found")
    parser.add_argument("--voice-activity", action="store_true", help="leave out what is not speech")
    parser.add_argument("--multichannel", action="store_true", help="transcribe each channel by itself, as a speaker")
    parser.add_argument(
        "--speaker-name", type=_speaker_name, action="append", default=[], help="of a channel; may be repeated"
    )
    readable = parser.add_argument_group("readable subtitles", "with --format srt or vtt; see docs/api.md")
    for name, what in _LIMITS.items():
        readable.add_argument(f"--{name.replace('_', '-')}", type=_within(*BOUNDS[name]), metavar="N", help=what)
    readable.add_argument("--highlight-words", action="store_true", help="vtt: underline each word while it is said")


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
    keep_large_blocks()
    return asyncio.run(work_until_signal(settings, options, recordings))


def _prepare(folder: Path | None) -> None:
    """Create the folder before hours of work turn out to have nowhere to go."""
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
    limits = {name: value for name in _LIMITS if (value := getattr(args, name)) is not None}
    if (limits or args.highlight_words) and args.format not in SUBTITLE_FORMATS:
        raise BadRequest("limits of subtitles need --format srt or vtt: the other formats have no lines")
    if args.highlight_words and args.format != ResponseFormat.VTT:
        raise BadRequest("--highlight-words needs --format vtt: srt has no way to mark a word")
    if args.speaker_name and not args.multichannel:
        raise BadRequest("--speaker-name needs --multichannel: speakers are told apart by channel")
    spec = OptionsSpec(
        task=Task(args.task),
        response_format=ResponseFormat(args.format),
        language=args.language,
        prompt=args.prompt,
        keywords=tuple(args.keyword),
        temperature=args.temperature,
        granularities=tuple(Granularity) if timed else (),
        voice_activity=VoiceActivity() if args.voice_activity else None,
        multichannel=args.multichannel,
        speaker_names=tuple(args.speaker_name),
        cue_shape=CueShape(**limits, highlight_words=args.highlight_words),
        speakers=_speakers(args),
    )
    policy = Policy(settings.language_force, settings.timestamps, settings.subtitles)
    return RunOptions(spec.options(policy), spec.response_format, spec.times_of(), spec.shape(policy), spec.speakers)


def _speakers(args: argparse.Namespace) -> SpeakersSpec | None:
    """Raises BadRequest."""
    is_asked = args.diarize or args.format in SPEAKER_FORMATS
    if args.diarize and args.format not in TIMED_FORMATS:
        raise BadRequest(f"--diarize: --format {args.format} has no place for speakers; use verbose_json, srt or vtt")
    if args.multichannel and (args.diarize or args.format == ResponseFormat.RTTM):
        raise BadRequest(
            "--multichannel has a speaker per channel: leave --diarize out, and use another format than rttm"
        )
    if args.num_speakers is not None and (not is_asked or args.multichannel):
        raise BadRequest("--num-speakers needs --diarize, or --format diarized_json or rttm, and one channel")
    if args.num_speakers is not None and not 1 <= args.num_speakers <= MAX_SPEAKERS:
        raise BadRequest(f"--num-speakers must be 1 to {MAX_SPEAKERS}")
    return SpeakersSpec(exact=args.num_speakers) if is_asked and not args.multichannel else None


def _language(text: str) -> str | None:
    return _checked(spoken_language, text) if text.strip() else None


def _keyword(text: str) -> str:
    return _checked(keyword, text)


def _speaker_name(text: str) -> str:
    return _checked(speaker_name, text)


def _temperature(text: str) -> float | None:
    """None for an empty value, which counts as not given."""
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"a number from 0 to 1 is needed, not {text!r}")
    return value


def _within(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text) if text.isascii() and text.isdigit() else -1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"a whole number from {least} to {most} is needed, not {text!r}")
        return value

    return parse


def _checked(check: Callable[[str], T], text: str) -> T:
    """`check` with its ValueError as argparse's error, which otherwise loses the message."""
    try:
        return check(text.strip())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None

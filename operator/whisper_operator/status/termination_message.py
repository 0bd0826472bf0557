"""Picks the most telling line of a termination message (FallbackToLogsOnError: the last lines of the log).

Times and process ids are removed, so that the same failure gives the same text.
"""

from __future__ import annotations

import json
import re

from whisper_operator.status.issue import clipped

MAX_LENGTH = 500

OUR_PREFIX = "whisper-server: "
"""Prefix of the line in which the server says why it cannot start."""

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PROCESS = re.compile(r"^\([^()]*pid=\d+\)\s*")
_TIME = re.compile(r"^\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*\s+|^(?:[A-Z]+ )?\d\d-\d\d \d\d:\d\d:\d\d\s+")
_ERROR = re.compile(r"\b\w*(?:Error|Exception)\b\s*:")
_ELSEWHERE = "See root cause above"


def most_telling_line(message: str) -> str:
    """The server's own line, else the last error, else the last line; empty if there is none."""
    lines = [line for line in map(_plain, message.splitlines()) if line]
    if not lines:
        return ""
    ours = [line for line in lines if line.startswith(OUR_PREFIX)]
    errors = [line for line in lines if _ERROR.search(line) and _ELSEWHERE not in line]
    if ours:
        return clipped(ours[-1].removeprefix(OUR_PREFIX), MAX_LENGTH)
    return clipped(errors[-1] if errors else lines[-1], MAX_LENGTH)


def _plain(line: str) -> str:
    text = _ESCAPES.sub("", line).strip()
    if text.startswith("{"):
        return _of_record(text)
    return " ".join(_TIME.sub("", _PROCESS.sub("", text)).split())


def _of_record(line: str) -> str:
    """A JSON log line: its message and the last line of its traceback."""
    try:
        record = json.loads(line)
    except ValueError:
        return line
    if not isinstance(record, dict) or "message" not in record:
        return line
    traceback = str(record.get("exception") or "").strip().splitlines()
    return " ".join(" ".join([str(record["message"]), *traceback[-1:]]).split())

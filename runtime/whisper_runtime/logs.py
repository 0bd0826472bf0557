"""The format of log lines: one line per record, as JSON or as text.

Text from clients is escaped, so that it cannot forge a line or control a terminal. Modules log with
`logging.getLogger(__name__)`; `extra={"fields": {...}}` adds values to the message. No library does it: python-json-logger
would replace the 15 lines of JsonFormatter only, and structlog would change the text format.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO


def configure_logging(
    log_format: str,
    level: str,
    *,
    quiet: Iterable[str],
    record_filter: Callable[[logging.LogRecord], bool],
    stream: TextIO | None = None,
) -> None:
    """Send all records to stderr (or `stream`).

    The loggers named in `quiet` log warnings and errors only. `record_filter` sees each record first, may add to its
    `fields`, and returns False to drop it.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    # On the handler, not on a logger: the filters of a logger do not see the records of its children.
    handler.addFilter(record_filter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in quiet:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # ASCII only: json then escapes every control character, and the line separators of Unicode.
        return json.dumps(line, ensure_ascii=True, default=str)


class TextFormatter(logging.Formatter):
    """`time level logger message key=value …`; the lines of a traceback follow, indented."""

    def format(self, record: logging.LogRecord) -> str:
        parts = [_time_of(record), f"{record.levelname:<7}", record.name, escaped(record.getMessage())]
        parts += [f"{key}={escaped(str(value))}" for key, value in fields_of(record).items()]
        line = " ".join(parts)
        if record.exc_info:
            traceback = self.formatException(record.exc_info)
            line += "".join(f"\n    {escaped(one)}" for one in traceback.splitlines())
        return line


def fields_of(record: logging.LogRecord) -> Mapping[str, Any]:
    """The values that `extra={"fields": …}` gave."""
    fields = record.__dict__.get("fields")
    return fields if isinstance(fields, Mapping) else {}


def escaped(text: str) -> str:
    """The text with every character that is not printable written as an escape."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "replace").decode("ascii")
        for character in text
    )


def _time_of(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")

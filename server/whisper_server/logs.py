"""How log lines look: one line each, as JSON or as text, with the id of the request they belong to.

Whatever a client sent is escaped: no line can be forged, no terminal be steered. Modules log through
`logging.getLogger(__name__)`; `extra={"fields": {...}}` adds values beside the message.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Set for as long as a request is being handled, in the tasks that handle it."""


def configure_logging(log_format: str, level: str, stream: TextIO | None = None) -> None:
    """Send everything to stderr (or `stream`), one line a record."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    # On the handler, not on a logger: filters of a logger do not see what its children send up.
    handler.addFilter(_add_request_id)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # These tell of every download and every file that they open.
    for name in ("httpx", "httpcore", "urllib3", "filelock", "asyncio"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _add_request_id(record: logging.LogRecord) -> bool:
    request_id = REQUEST_ID.get()
    if request_id:
        record.__dict__.setdefault("request_id", request_id)
    return True


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    fields = record.__dict__.get("fields")
    extras: dict[str, Any] = {}
    if request_id := record.__dict__.get("request_id"):
        extras["request_id"] = request_id
    if isinstance(fields, Mapping):
        extras.update(fields)
    return extras


def _time_of(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(_extras(record))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # ASCII only: json then escapes every control character, the Unicode line ends too.
        return json.dumps(line, ensure_ascii=True, default=str)


class TextFormatter(logging.Formatter):
    """`time level logger message key=value …`; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        parts = [_time_of(record), f"{record.levelname:<7}", record.name, escaped(record.getMessage())]
        parts += [f"{key}={escaped(str(value))}" for key, value in _extras(record).items()]
        line = " ".join(parts)
        if record.exc_info:
            traceback = self.formatException(record.exc_info)
            line += "".join(f"\n    {escaped(one)}" for one in traceback.splitlines())
        return line


def escaped(text: str) -> str:
    """The text with everything that is not printable written as an escape."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "replace").decode("ascii")
        for character in text
    )

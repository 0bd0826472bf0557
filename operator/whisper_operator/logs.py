"""How log lines look: one line each, as JSON or as text. Kopf, kubernetes and aiohttp say only what is worth a line.

What users wrote into objects is escaped: no line can be forged. `extra={"fields": {...}}` adds values to a message.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

QUIET = (
    "aiohttp.access",
    "asyncio",
    "kopf.activities",
    "kopf._core.engines.activities",
    "kopf.objects",
    "kopf._core.reactor.running",
)
"""Their news are none: each request, each login, each event that came."""


def configure_logging(log_format: str, level: str, stream: TextIO | None = None) -> None:
    """Send everything to stderr (or `stream`), one line a record."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    handler.addFilter(_is_news)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger("kopf").setLevel(max(logging.INFO, root.level))
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    # Of a kubeconfig that is not there we tell ourselves.
    logging.getLogger("kubernetes").setLevel(logging.ERROR)
    logging.captureWarnings(capture=True)


def hush() -> None:
    """On the way out: what others say of tasks that are ended is no news."""
    for name in ("kopf", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _is_news(record: logging.LogRecord) -> bool:
    """Kopf tells of each attempt at a request as an error; what came of them is told by the last one."""
    return not (record.name.startswith("kopf.") and "failed; will retry" in str(record.msg))


def _extras(record: logging.LogRecord) -> Mapping[str, Any]:
    fields = record.__dict__.get("fields")
    return fields if isinstance(fields, Mapping) else {}


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
            **_extras(record),
        }
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

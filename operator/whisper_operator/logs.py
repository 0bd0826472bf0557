"""Log format: one record per line, as JSON or as text. Routine messages of kopf, kubernetes and aiohttp are muted.

Text that users wrote into objects is escaped, so that nobody can forge a log line. `extra={"fields": {...}}` adds values to a message.
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
"""Muted below WARNING: they log every request, login and event."""


def configure_logging(log_format: str, level: str, stream: TextIO | None = None) -> None:
    """Send everything to stderr (or `stream`), one line per record."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    handler.addFilter(_is_news)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger("kopf").setLevel(max(logging.INFO, root.level))
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    # A missing kubeconfig is reported by `cluster.connection`.
    logging.getLogger("kubernetes").setLevel(logging.ERROR)
    logging.captureWarnings(capture=True)


def hush() -> None:
    """During shutdown: mutes what kopf and asyncio log about cancelled tasks."""
    for name in ("kopf", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _is_news(record: logging.LogRecord) -> bool:
    """Drops kopf's error for each failed attempt at a request; the last attempt is logged anyway."""
    return not (record.name.startswith("kopf.") and "failed; will retry" in str(record.msg))


def _extras(record: logging.LogRecord) -> Mapping[str, Any]:
    fields = record.__dict__.get("fields")
    return fields if isinstance(fields, Mapping) else {}


def _time_of(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

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
        # ASCII only: json then escapes every control character, including Unicode line separators.
        return json.dumps(line, ensure_ascii=True, default=str)


class TextFormatter(logging.Formatter):
    """`time level logger message key=value …`; a traceback follows on separate, indented lines."""

    def format(self, record: logging.LogRecord) -> str:
        parts = [_time_of(record), f"{record.levelname:<7}", record.name, escaped(record.getMessage())]
        parts += [f"{key}={escaped(str(value))}" for key, value in _extras(record).items()]
        line = " ".join(parts)
        if record.exc_info:
            traceback = self.formatException(record.exc_info)
            line += "".join(f"\n    {escaped(one)}" for one in traceback.splitlines())
        return line


def escaped(text: str) -> str:
    """The text with every unprintable character replaced by an escape."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "replace").decode("ascii")
        for character in text
    )

"""Log lines of the server: each has the id of its request."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TextIO

from whisper_runtime import logs

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Set while a request is being handled, in the tasks that handle it."""

QUIET = ("httpx", "httpcore", "urllib3", "filelock", "asyncio")
"""Libraries that log every download and every file that they open."""


def configure_logging(log_format: str, level: str, stream: TextIO | None = None) -> None:
    """Send all records to stderr (or `stream`), one line per record."""
    logs.configure_logging(log_format, level, quiet=QUIET, record_filter=_add_request_id, stream=stream)


def _add_request_id(record: logging.LogRecord) -> bool:
    request_id = record.__dict__.get("request_id") or REQUEST_ID.get()
    if request_id:
        record.__dict__["fields"] = {"request_id": request_id, **logs.fields_of(record)}
    return True

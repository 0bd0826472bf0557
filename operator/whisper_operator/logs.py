"""Log lines of the operator: routine messages of kopf, kubernetes and aiohttp are muted."""

from __future__ import annotations

import logging
from typing import TextIO

from whisper_runtime import logs

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
    logs.configure_logging(log_format, level, quiet=QUIET, record_filter=_is_news, stream=stream)
    logging.getLogger("kopf").setLevel(max(logging.INFO, logging.getLogger().level))
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

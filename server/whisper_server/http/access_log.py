"""One log line and one set of metrics for every request, however it ends."""

from __future__ import annotations

import logging
from http import HTTPStatus

from aiohttp import web

from whisper_server.http.in_flight import RECORD
from whisper_server.http.request_record import RequestRecord
from whisper_server.metrics import Metrics

log = logging.getLogger(__name__)

CLIENT_LEFT_STATUS = 499
"""nginx's status for a client that closed the connection; logged and counted, never sent."""

_EXPECTED = frozenset({"loading", "draining"})


class AccessLog:
    """Observes every request of the HTTP server."""

    def __init__(self, metrics: Metrics, *, audio_routes: frozenset[str], quiet_routes: frozenset[str]) -> None:
        self._metrics = metrics
        self._audio_routes = audio_routes
        """Routes that count as running transcriptions."""
        self._quiet_routes = quiet_routes
        """Probes: logged only if they fail for another reason than a loading model, as they arrive every few seconds."""

    def begun(self, request: web.BaseRequest) -> None:
        """The head was read."""
        self._metrics.requests_in_flight.inc()
        if request.path in self._audio_routes:
            self._metrics.requests_running.inc()

    def ended(self, request: web.BaseRequest, response: web.StreamResponse | None) -> None:
        """Answered, or the client left."""
        record = request[RECORD]
        status = CLIENT_LEFT_STATUS if response is None else response.status
        if record.is_closed:
            status = HTTPStatus.SWITCHING_PROTOCOLS
        is_probe = request.path in self._quiet_routes
        self._count(request, record, status, is_probe=is_probe)
        quiet = is_probe and (status < 400 or record.error_code in _EXPECTED)
        log.log(
            logging.DEBUG if quiet else logging.INFO,
            "%s %s %d",
            request.method,
            request.path,
            status,
            extra={"fields": {"request_id": record.request_id} | _fields(request, record)},
        )

    def _count(self, request: web.BaseRequest, record: RequestRecord, status: int, *, is_probe: bool) -> None:
        metrics = self._metrics
        metrics.requests_in_flight.dec()
        if request.path in self._audio_routes:
            metrics.requests_running.dec()
        # Clients can invent methods; labels must stay few.
        method = request.method if request.method in ("GET", "HEAD", "POST", "OPTIONS") else "other"
        metrics.requests.labels(record.route, method, str(status), record.response_format).inc()
        metrics.request_seconds.labels(record.route).observe(record.elapsed_s())
        if record.error_code and not is_probe:
            metrics.rejected.labels(record.refusal_reason or record.error_code).inc()


def _fields(request: web.BaseRequest, record: RequestRecord) -> dict[str, object]:
    seconds = {
        "duration_s": record.elapsed_s(),
        "upload_s": record.upload_s,
        "decode_s": record.decode_s,
        "transcribe_s": record.transcribe_s,
        "audio_s": record.audio_s,
    }
    known: dict[str, object] = {
        "client": record.client,
        "remote": request.remote,
        "owner": "" if record.client else record.owner,
        "model": record.model,
        "format": record.response_format,
        "stream": record.streamed,
        "error": record.error_code,
    }
    return {key: value for key, value in known.items() if value} | {
        key: round(value, 3) for key, value in seconds.items() if value
    }

"""What Prometheus may ask: every metric of the server, in a registry of its own.

Values only; who counts them is elsewhere. Nothing here is global, so that two servers fit into one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from whisper_runtime.metrics import PrefixedMetrics

_SECONDS_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_DELTA_BUCKETS = (0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 10, 20, 60)


class _Deaths(Collector):
    def __init__(self, n_deaths: Callable[[], int], n_sandbox_kills: Callable[[], int]) -> None:
        self._n_deaths = n_deaths
        self._n_sandbox_kills = n_sandbox_kills

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "whisper_decode_worker_deaths", "Decoding processes that died of themselves", value=self._n_deaths()
        )
        yield CounterMetricFamily(
            "whisper_decode_worker_sandbox_kills",
            "Decoding processes that were killed because a file made them try a forbidden system call",
            value=self._n_sandbox_kills(),
        )


class Metrics(PrefixedMetrics):
    """Counters, gauges and histograms as attributes; every name begins with `whisper_`."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        super().__init__("whisper_", registry)
        self._add_requests()
        self._add_pipeline()
        self._add_realtime()
        self.build_info = self.gauge(
            "build_info", "Always 1; what runs here is in the labels", ["version", "engine", "model", "device", "dtype"]
        )
        self.event_loop_lag_seconds = self.gauge(
            "event_loop_lag_seconds", "Longest time in the last minute for which an event loop answered nothing"
        )
        self._lags_s: list[Callable[[], float]] = []
        self.engine_up = self.gauge("engine_up", "1 while the model is loaded and its engine lives")

    def _add_requests(self) -> None:
        self.requests = self.counter(
            "requests", "Requests answered; status 499: the client left first", ["route", "method", "status", "format"]
        )
        self.request_seconds = self.histogram(
            "request_seconds",
            "From the head of the request to the end of the answer",
            ["route"],
            buckets=_SECONDS_BUCKETS,
        )
        self.requests_in_flight = self.gauge("requests_in_flight", "HTTP requests being handled, probes included")
        self.requests_running = self.gauge("requests_running", "Transcriptions and translations being handled")
        self.rejected = self.counter("rejected", "Requests refused, by the limit or the error's code", ["reason"])
        self.memory_reserved_bytes = self.gauge(
            "memory_reserved_bytes", "Held by uploads and decoded sound, of MEMORY_BUDGET_BYTES"
        )

    def _add_pipeline(self) -> None:
        self.queue_audio_seconds = self.gauge("queue_audio_seconds", "Sound waiting or being decoded or transcribed")
        self.queue_wait_seconds = self.gauge("queue_wait_seconds", "Wait that a new client's clip must expect")
        self.decode_queue_seconds = self.gauge(
            "decode_queue_seconds", "Expected time until all files that wait or are being decoded are decoded"
        )
        self.decodes_running = self.gauge("decodes_running", "Files that have a decoding process")
        self.decodes_waiting = self.gauge("decodes_waiting", "Files that wait for a decoding process")
        self.windows_running = self.gauge("windows_running", "Windows that have a place at the engine")
        self.windows_waiting = self.gauge("windows_waiting", "Windows that wait for a place at the engine")
        self.audio_seconds = self.counter("audio_seconds", "Sound decoded from uploads")
        self.diarized_audio_seconds = self.counter("diarized_audio_seconds", "Sound whose speakers were asked for")
        self.temperature_fallbacks = self.counter("ladder_fallbacks", "Windows decoded again at a higher temperature")

    def _add_realtime(self) -> None:
        self.realtime_sessions = self.gauge("realtime_sessions", "Realtime sessions that are open")
        self.realtime_sessions_limit = self.gauge(
            "realtime_sessions_limit", "How many are taken at a time: MAX_REALTIME_SESSIONS, or by the engine's speed"
        )
        self.realtime_delta_seconds = self.histogram(
            "realtime_delta_seconds",
            "From the arrival of the sound in which words were first heard to their delta",
            [],
            buckets=_DELTA_BUCKETS,
        )

    def watch_realtime(self, n_open: Callable[[], int], limit: Callable[[], int]) -> None:
        """Ask these at every scrape."""
        self.realtime_sessions.set_function(n_open)
        self.realtime_sessions_limit.set_function(limit)

    def watch_queue(self, audio_s: Callable[[], float], wait_s: Callable[[], float]) -> None:
        """Ask these at every scrape."""
        self.queue_audio_seconds.set_function(audio_s)
        self.queue_wait_seconds.set_function(wait_s)

    def watch_decoding(
        self, drained_after_s: Callable[[], float], n_running: Callable[[], int], n_waiting: Callable[[], int]
    ) -> None:
        """Ask these at every scrape."""
        self.decode_queue_seconds.set_function(drained_after_s)
        self.decodes_running.set_function(n_running)
        self.decodes_waiting.set_function(n_waiting)

    def watch_event_loop(self, max_lag_s: Callable[[], float]) -> None:
        """Ask this at every scrape, too: the longest lag counts, of this process or of one of realtime sessions."""
        self._lags_s.append(max_lag_s)
        self.event_loop_lag_seconds.set_function(lambda: max(lag_s() for lag_s in self._lags_s))

    def watch_windows(self, n_running: Callable[[], int], n_waiting: Callable[[], int]) -> None:
        """Ask these at every scrape."""
        self.windows_running.set_function(n_running)
        self.windows_waiting.set_function(n_waiting)

    def watch_worker_deaths(self, n_deaths: Callable[[], int], n_sandbox_kills: Callable[[], int] = lambda: 0) -> None:
        """Ask this at every scrape: the pool of decoding processes counts for itself."""
        self.registry.register(_Deaths(n_deaths, n_sandbox_kills))

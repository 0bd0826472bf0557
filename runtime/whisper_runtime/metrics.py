"""A Prometheus registry of one program: metrics with a common prefix, and their exposition.

Nothing is global, so that two servers or operators fit into one process.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder


class PrefixedMetrics:
    """Makes metrics whose names start with `prefix`, in a registry that also has those of process and platform."""

    def __init__(self, prefix: str, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._prefix = prefix
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All metrics in the format that the header `accept` asks for, and the content type of that format."""
        try:
            encode, content_type = choose_encoder(accept)
        except TypeError:  # it compares the parts of a version, of which one may be a text instead of a number
            encode, content_type = choose_encoder("")
        return encode(self.registry), content_type

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(self._prefix + name, text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(self._prefix + name, text, labels, registry=self.registry)

    def histogram(self, name: str, text: str, labels: Sequence[str] = (), *, buckets: Sequence[float]) -> Histogram:
        return Histogram(self._prefix + name, text, labels, registry=self.registry, buckets=buckets)

"""How much of a model has been fetched, in the log: for the reader, and as figures for the operator's status."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Lock
from typing import Any

from tqdm.auto import tqdm

log = logging.getLogger(__name__)

LOG_PERIOD_S = 5.0
MB = 1_000_000


class Progress:
    """Logs at most one line in five seconds, and one at the end. Threads may share it."""

    def __init__(self, model: str, n_total_bytes: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._model = model
        self._n_total = n_total_bytes
        self._n_fetched = 0
        self._clock = clock
        self._logged_s = clock()
        self._lock = Lock()

    def add(self, n_bytes: int) -> None:
        self.set(self._n_fetched + n_bytes, self._n_total)

    def set(self, n_bytes: int, n_total_bytes: int) -> None:
        with self._lock:
            self._n_fetched, self._n_total = n_bytes, max(n_total_bytes, n_bytes)
            if self._clock() >= self._logged_s + LOG_PERIOD_S:
                self._log()

    def end(self) -> None:
        """Log the whole, unless nothing was fetched."""
        with self._lock:
            if self._n_fetched:
                self._n_total = self._n_fetched
                self._log()

    def _log(self) -> None:
        self._logged_s = self._clock()
        share = f"{100 * self._n_fetched // self._n_total} % of {self._n_total / MB:.1f} MB"
        figures = {"fetched_bytes": self._n_fetched, "total_bytes": self._n_total}
        log.info("Fetching %s: %s", self._model, share, extra={"fields": figures})


def hub_bar(progress: Progress) -> type[Any]:
    """The class of the hub's progress bars: it draws none, and reports the bytes that are on the disk."""

    class HubBar(tqdm):  # type: ignore[type-arg]  # generic in its stubs only
        monitor_interval = 0  # no thread that redraws

        def display(self, *_: object, **__: object) -> None:
            pass

        def update(self, n: float | None = 1) -> bool | None:
            changed = super().update(n)
            if self.unit == "B" and str(self.desc).startswith("Reconstructing"):
                progress.set(int(self.n), int(self.total or 0))
            return changed

    return HubBar

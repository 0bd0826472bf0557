"""A queue of computations for the engine's threads, which decides what shares the next batch.

Bookkeeping only, without locks: all calls come from the event loop. Payloads are opaque here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

MAX_LIVE_IN_A_ROW = 2
"""Batches of live windows before one of others that wait: a live window's encoding takes a third of a file's."""
MAX_BATCHES_BEFORE = 2
"""Batches of other kinds that may precede the oldest item."""


@dataclass(frozen=True, eq=False)
class QueuedItem:
    """One computation; items of the same `kind` may share a batch of up to `max_batch` items."""

    kind: tuple[Hashable, ...]
    """First the name of the computation, then everything that must be equal within a batch."""
    payload: Any
    max_batch: int
    is_encoding: bool
    is_live: bool
    """Goes ahead of others, up to a share."""
    result: asyncio.Future[Any] = field(repr=False)


class BatchQueue:
    """Items in order of arrival, taken out in batches.

    Encoding is first: on a CPU it gains nothing from batches, while decoding does, so windows are encoded one by one
    until enough of them wait to be decoded together. An item that is alone in its kind (a retry at a higher temperature, a
    long prompt) would never be computed while full batches keep coming: at most MAX_BATCHES_BEFORE precede the oldest.
    """

    def __init__(self) -> None:
        self._encodings: deque[QueuedItem] = deque()
        self._others: deque[QueuedItem] = deque()
        self._oldest: QueuedItem | None = None
        self._n_batches_before = 0
        self._n_live_in_a_row = 0

    def __len__(self) -> int:
        return len(self._encodings) + len(self._others)

    def add(self, item: QueuedItem) -> None:
        """Append an item."""
        (self._encodings if item.is_encoding else self._others).append(item)

    def next_batch(self) -> Sequence[QueuedItem]:
        """Remove and return the next batch; empty if the queue is. Drops cancelled items."""
        self._encodings = deque(item for item in self._encodings if not item.result.done())
        self._others = deque(item for item in self._others if not item.result.done())
        if batch := self._live_batch():
            return batch
        chosen = self._overdue() or self._full_kind()
        if self._encodings and chosen is None:
            return self._pop(self._encodings, self._encodings[0])
        if self._others:
            batch = self._pop(self._others, chosen or self._others[0])
            self._n_batches_before += self._oldest not in batch
            return batch
        return ()

    def fail_all(self, make_error: Callable[[], BaseException]) -> None:
        """Set an exception on all items that wait, and remove them."""
        for item in (*self._encodings, *self._others):
            if not item.result.done():
                item.result.set_exception(make_error())
        self._encodings.clear()
        self._others.clear()

    def _live_batch(self) -> Sequence[QueuedItem]:
        """A batch of a live window, unless others wait and MAX_LIVE_IN_A_ROW have gone ahead of them; decoding first."""
        live = [item for item in (*self._others, *self._encodings) if item.is_live]
        if not live or (len(live) < len(self) and self._n_live_in_a_row >= MAX_LIVE_IN_A_ROW):
            self._n_live_in_a_row = 0
            return ()
        self._n_live_in_a_row += 1
        return self._pop(self._encodings if live[0].is_encoding else self._others, live[0])

    def _overdue(self) -> QueuedItem | None:
        """The oldest item other than encodings, if enough batches have preceded it."""
        oldest = self._others[0] if self._others else None
        if oldest is not self._oldest:
            self._oldest, self._n_batches_before = oldest, 0
        return oldest if self._n_batches_before >= MAX_BATCHES_BEFORE else None

    def _full_kind(self) -> QueuedItem | None:
        """An item whose kind has a full batch."""
        counts: dict[Hashable, int] = {}
        for item in self._others:
            counts[item.kind] = counts.get(item.kind, 0) + 1
            if counts[item.kind] >= item.max_batch:
                return item
        return None

    def _pop(self, queue: deque[QueuedItem], first: QueuedItem) -> Sequence[QueuedItem]:
        others = (item for item in queue if item.kind == first.kind and item is not first)
        batch = [first, *islice(others, first.max_batch - 1)]
        for item in batch:
            queue.remove(item)
        return batch

"""A queue of computations for the engine's threads, which decides what shares the next batch.

Bookkeeping only, without locks: all calls come from the event loop. Payloads are opaque here.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from whisper_server.fairness.fair_queue import FairQueue

MAX_LIVE_IN_A_ROW = 2
"""Batches of live windows before one of others that wait: a live window's encoding takes a third of a file's."""
MAX_BATCHES_BEFORE = 2
"""Batches of other kinds that may precede the oldest item."""
MAX_ENCODINGS_BEFORE = 2
"""Encodings of one other owner that may precede the oldest item."""


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
    owner: str = ""
    """Of the request. Encodings take turns by owner."""


class BatchQueue:
    """Items taken out in batches: encodings in turns by owner, all others in order of arrival.

    Encoding is first: on a CPU it gains nothing from batches, while decoding does, so windows are encoded one by one
    until enough of them wait to be decoded together. It costs the most, for silence as much as for speech: 0.6 of 0.7 CPU
    seconds of a clip with the demo model. So a clip does not wait until a batch is full of another owner's windows, of
    which free slots hold many: at most MAX_ENCODINGS_BEFORE of that owner precede its text.

    An item that is alone in its kind (a retry at a higher temperature, a long prompt) would never be computed while full
    batches keep coming: at most MAX_BATCHES_BEFORE precede the oldest.
    """

    def __init__(self) -> None:
        self._encodings: FairQueue[QueuedItem] = FairQueue()
        self._others: deque[QueuedItem] = deque()
        self._oldest: QueuedItem | None = None
        self._n_batches_before = 0
        self._encodings_before: Counter[str] = Counter()
        """By owner, since the oldest item became it."""
        self._n_live_in_a_row = 0

    def __len__(self) -> int:
        return len(self._encodings) + len(self._others)

    def add(self, item: QueuedItem) -> None:
        """Append an item."""
        if item.is_encoding:
            self._encodings.add(item.owner, None, item)
        else:
            self._others.append(item)

    def next_batch(self) -> Sequence[QueuedItem]:
        """Remove and return the next batch; empty if the queue is. Drops cancelled items."""
        self._others = deque(item for item in self._others if not item.result.done())
        if batch := self._live_batch():
            return batch
        chosen = self._overdue() or self._full_kind()
        if chosen is None and (encoding := self._next_encoding()) is not None:
            self._encodings_before[encoding.owner] += 1
            return (encoding,)
        if self._others:
            batch = self._pop(chosen or self._others[0])
            self._n_batches_before += self._oldest not in batch
            return batch
        return ()

    def fail_all(self, make_error: Callable[[], BaseException]) -> None:
        """Set an exception on all items that wait, and remove them."""
        while (encoding := self._next_encoding()) is not None:
            encoding.result.set_exception(make_error())
        for item in self._others:
            if not item.result.done():
                item.result.set_exception(make_error())
        self._others.clear()

    def _live_batch(self) -> Sequence[QueuedItem]:
        """A batch of a live window, unless others wait and MAX_LIVE_IN_A_ROW have gone ahead of them; decoding first."""
        live = [item for item in (*self._others, *self._encodings) if item.is_live and not item.result.done()]
        if not live or (len(live) < len(self) and self._n_live_in_a_row >= MAX_LIVE_IN_A_ROW):
            self._n_live_in_a_row = 0
            return ()
        self._n_live_in_a_row += 1
        if live[0].is_encoding:
            self._encodings.remove(live[0].owner, None, live[0])
            return (live[0],)
        return self._pop(live[0])

    def _overdue(self) -> QueuedItem | None:
        """The oldest item other than encodings, if enough batches, or encodings of one other owner, have preceded it."""
        oldest = self._others[0] if self._others else None
        if oldest is not self._oldest:
            self._oldest, self._n_batches_before = oldest, 0
            self._encodings_before.clear()
        if oldest is None:
            return None
        n_encodings = max((n for owner, n in self._encodings_before.items() if owner != oldest.owner), default=0)
        is_overdue = self._n_batches_before >= MAX_BATCHES_BEFORE or n_encodings >= MAX_ENCODINGS_BEFORE
        return oldest if is_overdue else None

    def _full_kind(self) -> QueuedItem | None:
        """An item whose kind has a full batch."""
        counts: dict[Hashable, int] = {}
        for item in self._others:
            counts[item.kind] = counts.get(item.kind, 0) + 1
            if counts[item.kind] >= item.max_batch:
                return item
        return None

    def _next_encoding(self) -> QueuedItem | None:
        for item in list(self._encodings):
            if item.result.done():
                self._encodings.remove(item.owner, None, item)
        return self._encodings.pop()

    def _pop(self, first: QueuedItem) -> Sequence[QueuedItem]:
        others = (item for item in self._others if item.kind == first.kind and item is not first)
        batch = [first, *islice(others, first.max_batch - 1)]
        for item in batch:
            self._others.remove(item)
        return batch

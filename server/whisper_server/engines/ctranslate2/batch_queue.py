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

from whisper_server.fairness.fair_queue import FairQueue

MAX_LIVE_IN_A_ROW = 2
"""Batches of live windows before one of others that wait: a live window's encoding takes a third of a file's."""
MAX_BATCHES_BEFORE = 2
"""Batches of other kinds that may precede the oldest item."""
_WEIGHT = 0.1
"""Of one more encoding in the mean time of encodings."""


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

    A turn costs what was computed for the owner: the seconds of its encodings, and its share of those of its batches.

    Encoding is first: on a CPU it gains nothing from batches, while decoding does, so windows are encoded one by one
    until enough of them wait to be decoded together. But no window is encoded while an owner that has had less waits
    for text: with the demo model encoding takes 0.7 CPU seconds, for silence as much as for speech, a clip's text 0.05.
    An owner that has more windows to encode waits for full batches, whatever others do.

    An item that is alone in its kind (a retry at a higher temperature, a long prompt) would never be computed while full
    batches keep coming: at most MAX_BATCHES_BEFORE precede the oldest.
    """

    def __init__(self) -> None:
        self._encodings: FairQueue[QueuedItem] = FairQueue()
        self._encoding_s = 1.0
        """What an encoding costs that has not ended: the mean of those that have."""
        self._assumed_s: dict[QueuedItem, float] = {}
        """What owners were charged for encodings that are computed now."""
        self._others: deque[QueuedItem] = deque()
        self._oldest: QueuedItem | None = None
        self._n_batches_before = 0
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
        self._drop_cancelled_encodings()
        if (chosen := self._overdue() or self._full_kind()) is not None:
            return self._taken(self._pop(chosen))
        if behind := self._behind():
            return self._taken(self._pop(behind[0], behind))
        if (encoding := self._encodings.pop(self._encoding_s)) is not None:
            self._assumed_s[encoding] = self._encoding_s
            return (encoding,)
        return self._taken(self._pop(self._others[0])) if self._others else ()

    def charge(self, batch: Sequence[QueuedItem], computed_s: float, n_steps: Sequence[int] = ()) -> None:
        """Charge the owners of a batch for the seconds that it took; by the steps of each item, or equally."""
        if batch[0].is_encoding and not batch[0].is_live:
            self._encoding_s += _WEIGHT * (computed_s - self._encoding_s)
        weights = n_steps or [1] * len(batch)
        for item, weight in zip(batch, weights, strict=True):
            share_s = computed_s * weight / sum(weights)
            self._encodings.charge(item.owner, share_s - self._assumed_s.pop(item, 0.0))

    def fail_all(self, make_error: Callable[[], BaseException]) -> None:
        """Set an exception on all items that wait, and remove them."""
        self._drop_cancelled_encodings()
        while (encoding := self._encodings.pop()) is not None:
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
        """The oldest item other than encodings, if enough batches of others have preceded it."""
        oldest = self._others[0] if self._others else None
        if oldest is not self._oldest:
            self._oldest, self._n_batches_before = oldest, 0
        return oldest if self._n_batches_before >= MAX_BATCHES_BEFORE else None

    def _behind(self) -> Sequence[QueuedItem]:
        """The items of owners that have had less than the one whose encoding is next.

        Those of others wait for their own batch, of which the longest text may take seconds.
        """
        next_time = self._encodings.next_time()
        if next_time is None:
            return ()
        return [item for item in self._others if self._encodings.time_of(item.owner) < next_time]

    def _full_kind(self) -> QueuedItem | None:
        """An item whose kind has a full batch."""
        counts: dict[Hashable, int] = {}
        for item in self._others:
            counts[item.kind] = counts.get(item.kind, 0) + 1
            if counts[item.kind] >= item.max_batch:
                return item
        return None

    def _drop_cancelled_encodings(self) -> None:
        for item in list(self._encodings):
            if item.result.done():
                self._encodings.remove(item.owner, None, item)

    def _pop(self, first: QueuedItem, among: Sequence[QueuedItem] | None = None) -> Sequence[QueuedItem]:
        """Remove a batch with `first`, of all that wait or of those in `among`."""
        candidates = self._others if among is None else among
        others = (item for item in candidates if item.kind == first.kind and item is not first)
        batch = [first, *islice(others, first.max_batch - 1)]
        for item in batch:
            self._others.remove(item)
        return batch

    def _taken(self, batch: Sequence[QueuedItem]) -> Sequence[QueuedItem]:
        self._n_batches_before += self._oldest not in batch
        return batch

"""A queue that is fair to owners first, then to the requests of an owner.

Start-time fair queueing (Goyal, Vin, Cheng: "Start-time Fair Queueing", SIGCOMM 1996): each owner has a virtual time that
grows with the cost of what was taken for it, and the owner with the lowest is next. A newcomer starts at the time of the one
that was served last, so it neither waits for others' backlog nor catches up for time in which it was idle.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass
class _Owner(Generic[Item]):
    time: float
    requests: OrderedDict[Hashable, deque[Item]] = field(default_factory=OrderedDict)

    def first(self, where: Callable[[Item], bool]) -> tuple[Hashable, Item] | None:
        """The item whose turn it is, among those that `where` allows."""
        for request, items in self.requests.items():
            for item in items:
                if where(item):
                    return request, item
        return None


def _any(_item: object) -> bool:
    return True


class FairQueue(Generic[Item]):
    """Items of requests of owners. With equal costs owners take turns, and so do the requests of each."""

    def __init__(self) -> None:
        self._owners: OrderedDict[Hashable, _Owner[Item]] = OrderedDict()
        self._now = 0.0
        self._n_items = 0

    def __len__(self) -> int:
        return self._n_items

    def __iter__(self) -> Iterator[Item]:
        for owner in self._owners.values():
            for items in owner.requests.values():
                yield from items

    def add(self, owner: Hashable, request: Hashable, item: Item) -> None:
        """Append an item to those of its request."""
        entry = self._owners.setdefault(owner, _Owner(self._now))
        if not entry.requests:
            entry.time = max(entry.time, self._now)
        entry.requests.setdefault(request, deque()).append(item)
        self._n_items += 1

    def pop(
        self,
        cost: float = 1.0,
        where: Callable[[Item], bool] = _any,
        may_have: Callable[[Hashable], bool] = _any,
    ) -> Item | None:
        """Remove the next item that `where` allows of an owner that `may_have` one, and charge it; None if there is none."""
        best: tuple[float, Hashable, Hashable, Item] | None = None
        for name, entry in self._owners.items():
            if (best is not None and best[0] <= entry.time) or not may_have(name):
                continue
            if (first := entry.first(where)) is not None:
                best = (entry.time, name, *first)
        if best is None:
            return None
        self._now, owner, request, item = best
        self._owners[owner].time += cost
        self._remove(owner, request, item)
        for name in [name for name, entry in self._owners.items() if not entry.requests and entry.time <= self._now]:
            del self._owners[name]
        return item

    def charge(self, owner: Hashable, cost: float) -> None:
        """Add to what `owner` has had: its work turned out to cost more, or less. If nothing waits, nothing is owed."""
        if self._n_items:
            entry = self._owners.setdefault(owner, _Owner(self._now))
            entry.time = max(self._now, entry.time + cost)

    def time_of(self, owner: Hashable) -> float:
        """The owner's virtual time: what it has had, in the same measure for all."""
        entry = self._owners.get(owner)
        return self._now if entry is None else max(self._now, entry.time)

    def next_time(self) -> float | None:
        """That of the owner whose turn is next; None if nothing waits."""
        return min((entry.time for entry in self._owners.values() if entry.requests), default=None)

    def remove(self, owner: Hashable, request: Hashable, item: Item) -> None:
        """Remove the item if it is still there."""
        entry = self._owners.get(owner)
        if entry is not None and item in entry.requests.get(request, ()):
            self._remove(owner, request, item)

    def _remove(self, owner: Hashable, request: Hashable, item: Item) -> None:
        entry = self._owners[owner]
        items = entry.requests.pop(request)
        items.remove(item)
        if items:
            entry.requests[request] = items  # behind the owner's other requests
        self._n_items -= 1
        self._owners.move_to_end(owner)
        if not self._n_items:
            self._owners.clear()
            self._now = 0.0

"""Who has which route: of two endpoints with the same class, host and path, the older one has it.

An index in memory, filled from the specs. What a route's identity is, is decided in `manifests`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from whisper_operator.store import Key


class Routes:
    """The routes that endpoints ask for."""

    def __init__(self) -> None:
        self._asked: dict[Key, tuple[str, frozenset[str]]] = {}
        self._by_route: defaultdict[str, set[Key]] = defaultdict(set)

    def ask(self, key: Key, created_at: str, routes: Iterable[str]) -> set[Key]:
        """What an endpoint asks for now. The others whose chances this changes."""
        new = frozenset(routes)
        old_created_at, old = self._asked.get(key, ("", frozenset()))
        if old == new and (not new or old_created_at == created_at):
            return set()
        rivals = self._rivals(key, old | new)
        for route in old - new:
            self._by_route[route].discard(key)
            if not self._by_route[route]:
                del self._by_route[route]
        for route in new:
            self._by_route[route].add(key)
        if new:
            self._asked[key] = (created_at, new)
        else:
            self._asked.pop(key, None)
        return rivals

    def holder(self, key: Key) -> Key | None:
        """An older endpoint that has one of this one's routes."""
        if key not in self._asked:
            return None
        created_at, routes = self._asked[key]
        older = [rival for rival in self._rivals(key, routes) if (self._asked[rival][0], rival) < (created_at, key)]
        return min(older, key=lambda rival: (self._asked[rival][0], rival), default=None)

    def _rivals(self, key: Key, routes: Iterable[str]) -> set[Key]:
        found: set[Key] = set()
        for route in routes:
            found |= self._by_route.get(route, set())
        return found - {key}

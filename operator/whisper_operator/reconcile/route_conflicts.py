"""Which endpoint owns a route: of two with the same class, host and path, the older one.

An index in memory, filled from the specs in the store. `manifests.RouteKey` defines when two routes are the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from whisper_operator import manifests
from whisper_operator.errors import SpecError
from whisper_operator.kinds import ENDPOINT
from whisper_operator.manifests import RouteKey
from whisper_operator.reconcile.store import CachedObject, Key, Store
from whisper_operator.resource.parse import parse_endpoint


class RouteIndex:
    """The routes that endpoints want, and their owners."""

    def __init__(self) -> None:
        self._wanted: dict[Key, tuple[str, frozenset[RouteKey]]] = {}
        self._by_route: defaultdict[str, set[Key]] = defaultdict(set)

    def replace(self, key: Key, created_at: str, routes: Iterable[RouteKey]) -> set[Key]:
        """Sets the routes that an endpoint wants; returns the other endpoints that this may affect."""
        new = frozenset(routes)
        old_created_at, old = self._wanted.get(key, ("", frozenset()))
        if old == new and (not new or old_created_at == created_at):
            return set()
        before = self._contenders(old)
        routes_of_new = {one.route for one in new}
        for route in {one.route for one in old} - routes_of_new:
            self._by_route[route].discard(key)
            if not self._by_route[route]:
                del self._by_route[route]
        for route in routes_of_new:
            self._by_route[route].add(key)
        if new:
            self._wanted[key] = (created_at, new)
        else:
            self._wanted.pop(key, None)
        return (before | self._contenders(new)) - {key}

    def owner_of(self, key: Key) -> Key | None:
        """The older endpoint that owns one of this endpoint's routes, or None.

        An endpoint that has itself lost a route owns none, so it does not block others.
        """
        taken: dict[RouteKey, Key] = {}
        _, wanted = self._wanted.get(key, ("", frozenset()))
        for rival in sorted(self._contenders(wanted), key=self._age):
            routes = self._wanted[rival][1]
            owners = [owner for route, owner in taken.items() if any(route.overlaps(one) for one in routes)]
            if rival == key:
                return min(owners, key=self._age, default=None)
            if not owners:
                taken |= dict.fromkeys(routes, rival)
        return None

    def _age(self, key: Key) -> tuple[str, Key]:
        return self._wanted[key][0], key

    def _contenders(self, routes: Iterable[RouteKey]) -> set[Key]:
        """All endpoints that want one of the routes, or a route of one of these endpoints, and so on."""
        found: set[Key] = set()
        waiting = list(routes)
        while waiting:
            wanted = waiting.pop()
            rivals = self._by_route.get(wanted.route, set()) - found
            new = {key for key in rivals if any(wanted.overlaps(one) for one in self._wanted[key][1])}
            found |= new
            waiting += [route for key in new for route in self._wanted[key][1]]
        return found


class RouteConflicts:
    """The routes of all endpoints in the store."""

    def __init__(self, store: Store, enqueue: Callable[[Key], None]) -> None:
        self._store = store
        self._enqueue = enqueue
        self._routes = RouteIndex()
        self._known: dict[Key, str] = {}
        self._default_class = ""

    def update(self, key: Key) -> None:
        """Reads the endpoint's routes from the store, and enqueues the endpoints that a change affects."""
        cached = self._store.cached(ENDPOINT.kind, *key)
        version = "" if cached is None else cached.version
        if self._known.get(key, "") == version:
            return
        if cached is None:
            del self._known[key]
        else:
            self._known[key] = version
        for rival in self._replace(key, cached):
            self._enqueue(rival)

    def set_default_class(self, name: str) -> None:
        """The cluster's default IngressClass; the routes of endpoints that name no class change with it."""
        if name == self._default_class:
            return
        self._default_class = name
        for key in list(self._known):
            for rival in self._replace(key, self._store.cached(ENDPOINT.kind, *key)):
                self._enqueue(rival)

    def owner_of(self, key: Key) -> str:
        """`namespace/name` of the older endpoint that owns one of the routes; empty: there is none."""
        return "/".join(self._routes.owner_of(key) or ())

    def _replace(self, key: Key, cached: CachedObject | None) -> set[Key]:
        document = None if cached is None else cached.document
        if document is None or document["metadata"].get("deletionTimestamp"):
            return self._routes.replace(key, "", ())
        try:
            endpoint = parse_endpoint(document)
        except SpecError:
            return set()  # its Ingress stays as it is, so it keeps the routes that it wanted last
        return self._routes.replace(key, endpoint.created_at, manifests.route_keys(endpoint, self._default_class))

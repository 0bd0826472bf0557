"""Which endpoint asks for which routes, read from the specs in the store; whoever is concerned by a change is woken.

Who of several has a route is decided in `routes`, what a route's identity is in `manifests`.
"""

from __future__ import annotations

from collections.abc import Callable

from whisper_operator import manifests
from whisper_operator.errors import SpecError
from whisper_operator.kinds import ENDPOINT
from whisper_operator.resource.parse import parse_endpoint
from whisper_operator.routes import Routes
from whisper_operator.store import Key, Seen, Store


class Contention:
    """What all endpoints ask for."""

    def __init__(self, store: Store, wake: Callable[[Key], None]) -> None:
        self._store = store
        self._wake = wake
        self._routes = Routes()
        self._known: dict[Key, str] = {}

    def look_at(self, key: Key) -> None:
        """Note what an endpoint asks for now."""
        seen = self._store.seen(ENDPOINT.kind, *key)
        version = "" if seen is None else seen.version
        if self._known.get(key, "") == version:
            return
        if seen is None:
            del self._known[key]
        else:
            self._known[key] = version
        for rival in self._ask(key, seen):
            self._wake(rival)

    def holder(self, key: Key) -> str:
        """`namespace/name` of the endpoint that has what this one asks for; empty: it has it itself."""
        return "/".join(self._routes.holder(key) or ())

    def _ask(self, key: Key, seen: Seen | None) -> set[Key]:
        document = None if seen is None else seen.document
        if document is None or document["metadata"].get("deletionTimestamp"):
            return self._routes.ask(key, "", ())
        try:
            endpoint = parse_endpoint(document)
        except SpecError:
            return set()  # its Ingress is left alone, so what it asked for last is still its own
        return self._routes.ask(key, endpoint.created_at, manifests.route_keys(endpoint))

"""Reads objects that are not watched: Secrets, IngressClasses, users' claims, nodes with GPUs, and the Events of stuck pods.

Answers are cached. A missing object is read again after MISSING_SECONDS. Secrets and classes that exist are cached longer, so
that only a few are read per second, however many there are. Of a Secret only the names of its keys are stored, and which are empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from whisper_operator.cluster_protocol import ApiError, Cluster
from whisper_operator.kinds import CLAIM, CORE_EVENT, GATEWAY, INGRESS_CLASS, NODE, SECRET, Kind
from whisper_operator.resource.fields import Document
from whisper_operator.resource.required_secrets import RequiredSecret, pod_secrets, pull_secrets, route_secrets
from whisper_operator.resource.spec import Endpoint
from whisper_operator.settings import Settings
from whisper_operator.snapshot import NodeOffer, Presence, SecretLookup

DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"
FORGET_AFTER_S = 600.0
SECONDS_PER_NODE = 0.02
"""Nodes are listed again after this time for each of them. 1,000 with their images are about 10 MB: every 20 s."""
SECONDS_PER_READ = 0.2
"""Budget for re-reading each Secret or IngressClass: with 50 in use each is re-read every 10 s, so a deletion is noticed
within 10 s."""


@dataclass(frozen=True)
class LookupResults:
    """What was read for an endpoint."""

    secrets: Mapping[str, SecretLookup]
    existing_claim: Document | None
    ingress_class: Document | None
    gateways: Mapping[tuple[str, str], tuple[Document, ...]]
    """Listeners of the Gateways that the route names, by namespace and name; without those that cannot be read."""
    requeue_after_s: float | None = field(compare=False)
    """When to read again: no event reports that such an object appeared or was deleted."""


class CachedReader:
    """Reads, and caches the answers."""

    def __init__(self, cluster: Cluster, settings: Settings, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._settings = settings
        self._clock = clock
        self._answers: dict[tuple[str, ...], tuple[float, Any]] = {}
        self._users_of_classes: dict[tuple[str, str], float] = {}

    async def read(self, endpoint: Endpoint) -> LookupResults:
        namespace, spec = endpoint.namespace, endpoint.spec
        required = [*pod_secrets(endpoint), *pull_secrets(endpoint), *route_secrets(endpoint)]
        secrets = {
            name: await self._secret(namespace, name, [one for one in required if one.name == name])
            for name in sorted({one.name for one in required})
        }
        claim = spec.cache.existing_claim if spec.cache else None
        found_claim = await self._object(CLAIM, namespace, claim) if claim else None
        ingress = spec.exposure.ingress if spec.exposure else None
        found_class = await self._ingress_class(ingress.class_name) if ingress else None
        if ingress:
            self._users_of_classes[namespace, endpoint.name] = self._clock()
        gateways = await self._listeners(endpoint)
        missing = [
            not all(secrets[one.name].satisfies(one) for one in required),
            claim is not None and (found_claim is None or found_claim.get("status", {}).get("phase") != "Bound"),
            ingress is not None and found_class is None,
        ]
        requeue_after_s = (
            self._settings.missing_seconds
            if any(missing)
            else self._settled_s
            if secrets or ingress or gateways
            else None
        )
        return LookupResults(secrets, found_claim, found_class, gateways, requeue_after_s)

    async def events(self, regarding: Document) -> tuple[Document, ...]:
        """Events about a pod or a claim, newest first."""
        metadata = regarding["metadata"]
        selector = f"involvedObject.uid={metadata['uid']}"

        async def fetch() -> tuple[tuple[Document, ...], bool]:
            found = await self._cluster.list(
                CORE_EVENT.api_version, CORE_EVENT.kind, metadata["namespace"], field_selector=selector
            )
            return tuple(sorted(found, key=_last_seen, reverse=True)[:10]), False

        events: tuple[Document, ...] = await self._cached(("events", metadata["uid"]), fetch) or ()
        return events

    async def nodes(self) -> tuple[NodeOffer, ...] | None:
        """Nodes with extended resources; None: the operator may not list nodes. Read for pods that get no node only."""
        n_nodes = 0

        async def fetch() -> tuple[tuple[NodeOffer, ...], bool]:
            nonlocal n_nodes
            found = await self._cluster.list(NODE.api_version, NODE.kind, "")
            n_nodes = len(found)
            return tuple(offer for node in found if (offer := node_offer(node)).extended), False

        answer: tuple[NodeOffer, ...] | None = await self._cached(
            ("nodes",), fetch, lasts_s=lambda: n_nodes * SECONDS_PER_NODE
        )
        return answer

    async def _secret(self, namespace: str, name: str, required: Sequence[RequiredSecret]) -> SecretLookup:
        if not self._settings.read_secrets:
            return SecretLookup(presence=Presence.UNKNOWN)

        async def fetch() -> tuple[SecretLookup, bool]:
            secret = await self._cluster.get(SECRET.api_version, SECRET.kind, namespace, name)
            if secret is None:
                return SecretLookup(presence=Presence.MISSING), False
            data = secret.get("data") or {}
            empty = frozenset(key for key, held in data.items() if not held)
            found = SecretLookup(
                presence=Presence.PRESENT, keys=frozenset(data), empty=empty, type=secret.get("type", "")
            )
            return found, all(found.satisfies(one) for one in required)

        # Two endpoints of a namespace may need different keys of the same Secret.
        wanted = sorted({key for one in required for key in one.keys})
        lookup: SecretLookup | None = await self._cached(("secret", namespace, name, *wanted), fetch)
        return lookup or SecretLookup(presence=Presence.UNKNOWN)

    async def _object(self, kind: Kind, namespace: str, name: str) -> Document | None:
        async def fetch() -> tuple[Document | None, bool]:
            found = await self._cluster.get(kind.api_version, kind.kind, namespace, name)
            # A claim is polled until it is bound.
            return found, False

        found: Document | None = await self._cached((kind.kind, namespace, name), fetch)
        return found

    async def _listeners(self, endpoint: Endpoint) -> dict[tuple[str, str], tuple[Document, ...]]:
        gateway = endpoint.spec.exposure.gateway if endpoint.spec.exposure else None
        found: dict[tuple[str, str], tuple[Document, ...]] = {}
        for reference in gateway.parent_refs if gateway else ():
            if reference.get("kind", GATEWAY.kind) != GATEWAY.kind:
                continue
            namespace, name = reference.get("namespace") or endpoint.namespace, reference["name"]

            async def fetch(namespace: str = namespace, name: str = name) -> tuple[tuple[Document, ...] | None, bool]:
                there = await self._cluster.get(GATEWAY.api_version, GATEWAY.kind, namespace, name)
                return (None, False) if there is None else (tuple(there.get("spec", {}).get("listeners") or ()), True)

            listeners: tuple[Document, ...] | None = await self._cached(("gateway", namespace, name), fetch)
            if listeners is not None:
                found[namespace, name] = listeners
        return found

    async def _ingress_class(self, name: str | None) -> Document | None:
        async def fetch() -> tuple[Document | None, bool]:
            found: Document | None
            if name is not None:
                found = await self._cluster.get(INGRESS_CLASS.api_version, INGRESS_CLASS.kind, "", name)
            else:
                classes = await self._cluster.list(INGRESS_CLASS.api_version, INGRESS_CLASS.kind, "")
                found = default_of(classes)
            return found, False

        unknown: Document = {"metadata": {"name": name or ""}, "spec": {}}
        answer: Document | None = await self._cached(("class", name or ""), fetch, unknown=unknown)
        return answer

    async def _cached(
        self, key: tuple[str, ...], fetch: Any, unknown: Any = None, lasts_s: Callable[[], float] = lambda: 0.0
    ) -> Any:
        """The cached answer, or a new one if it has expired. `unknown` is the answer after a 403; `lasts_s` only lengthens."""
        now = self._clock()
        if key in self._answers and now < self._answers[key][0]:
            return self._answers[key][1]
        try:
            answer, is_settled = await fetch()
        except ApiError as error:
            if error.code != 403:
                raise
            answer, is_settled = unknown, True
        settled_s = self._settled_s if is_settled else self._settings.missing_seconds
        self._answers[key] = (now + 0.9 * max(settled_s, lasts_s()), answer)
        return answer

    @property
    def _settled_s(self) -> float:
        """How long the answer for an existing object is cached."""
        settings = self._settings
        n_reads = max(len(self._answers), len(self._users_of_classes))
        return min(settings.drift_seconds, max(settings.missing_seconds, SECONDS_PER_READ * n_reads))

    def forget_old(self) -> None:
        """Drops answers that were not used for a long time."""
        before = self._clock() - FORGET_AFTER_S
        self._answers = {key: answer for key, answer in self._answers.items() if answer[0] > before}
        self._users_of_classes = {key: at for key, at in self._users_of_classes.items() if at > before}


def default_of(classes: Iterable[Document]) -> Document | None:
    """The default class as the API server chooses it: the newest, then the first by name."""
    defaults = [one for one in classes if (one["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"]
    by_name = sorted(defaults, key=lambda one: str(one["metadata"]["name"]))
    return max(by_name, key=lambda one: str(one["metadata"].get("creationTimestamp")), default=None)


def node_offer(node: Document) -> NodeOffer:
    """What a node has besides CPU, memory, storage and pods: names with a domain, whose amounts are whole numbers."""
    spec, metadata = node.get("spec", {}), node["metadata"]
    amounts = node.get("status", {}).get("allocatable") or {}
    return NodeOffer(
        name=metadata["name"],
        labels=metadata.get("labels") or {},
        taints=tuple(spec.get("taints") or ()),
        is_cordoned=bool(spec.get("unschedulable")),
        extended={name: int(amount) for name, amount in amounts.items() if "/" in name and str(amount).isdigit()},
    )


def _last_seen(event: Document) -> str:
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((str(one) for one in times if one), "")

"""What is not watched but read one by one: Secrets, IngressClasses, claims of users, and the Events of stuck pods.

Answers are kept for a while: what is missing until it is looked for again, Secrets and classes that are there so long that not more
than a few a second are looked at, however many there are. Of a Secret nothing is kept but the names of its keys, and which are empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from whisper_operator.cluster_protocol import ApiError, Cluster
from whisper_operator.kinds import CLAIM, CORE_EVENT, INGRESS_CLASS, SECRET, Kind
from whisper_operator.resource.fields import Document
from whisper_operator.resource.required_secrets import RequiredSecret, pod_secrets, pull_secrets, route_secrets
from whisper_operator.resource.spec import Endpoint
from whisper_operator.settings import Settings
from whisper_operator.snapshot import Presence, SecretLookup

DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"
FORGET_AFTER_S = 600.0
SECONDS_PER_READ = 0.2
"""Of looking at each Secret or class again: that one was deleted is seen in ten seconds where fifty are used."""


@dataclass(frozen=True)
class LookupResults:
    """What was found for an endpoint."""

    secrets: Mapping[str, SecretLookup]
    existing_claim: Document | None
    ingress_class: Document | None
    requeue_after_s: float | None = field(compare=False)
    """When to look again: no event tells that something is there, or there no more."""


class CachedReader:
    """Looks things up."""

    def __init__(self, cluster: Cluster, settings: Settings, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._settings = settings
        self._clock = clock
        self._kept: dict[tuple[str, ...], tuple[float, Any]] = {}
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
        missing = [
            not all(secrets[one.name].satisfies(one) for one in required),
            claim is not None and (found_claim is None or found_claim.get("status", {}).get("phase") != "Bound"),
            ingress is not None and found_class is None,
        ]
        requeue_after_s = (
            self._settings.missing_seconds if any(missing) else self._settled_s if secrets or ingress else None
        )
        return LookupResults(secrets, found_claim, found_class, requeue_after_s)

    async def events(self, regarding: Document) -> tuple[Document, ...]:
        """Events about a pod or a claim, newest first."""
        metadata = regarding["metadata"]
        selector = f"involvedObject.uid={metadata['uid']}"

        async def ask() -> tuple[tuple[Document, ...], bool]:
            found = await self._cluster.list(
                CORE_EVENT.api_version, CORE_EVENT.kind, metadata["namespace"], field_selector=selector
            )
            return tuple(sorted(found, key=_last_seen, reverse=True)[:10]), False

        events: tuple[Document, ...] = await self._remembered(("events", metadata["uid"]), ask) or ()
        return events

    async def _secret(self, namespace: str, name: str, required: Sequence[RequiredSecret]) -> SecretLookup:
        if not self._settings.read_secrets:
            return SecretLookup(presence=Presence.UNKNOWN)

        async def ask() -> tuple[SecretLookup, bool]:
            secret = await self._cluster.get(SECRET.api_version, SECRET.kind, namespace, name)
            if secret is None:
                return SecretLookup(presence=Presence.MISSING), False
            data = secret.get("data") or {}
            empty = frozenset(key for key, held in data.items() if not held)
            found = SecretLookup(
                presence=Presence.PRESENT, keys=frozenset(data), empty=empty, type=secret.get("type", "")
            )
            return found, all(found.satisfies(one) for one in required)

        # What suffices for one endpoint may lack a key that another one in the namespace needs.
        wanted = sorted({key for one in required for key in one.keys})
        lookup: SecretLookup | None = await self._remembered(("secret", namespace, name, *wanted), ask)
        return lookup or SecretLookup(presence=Presence.UNKNOWN)

    async def _object(self, kind: Kind, namespace: str, name: str) -> Document | None:
        async def ask() -> tuple[Document | None, bool]:
            found = await self._cluster.get(kind.api_version, kind.kind, namespace, name)
            # A claim is not done with before it is bound.
            return found, False

        found: Document | None = await self._remembered((kind.kind, namespace, name), ask)
        return found

    async def _ingress_class(self, name: str | None) -> Document | None:
        async def ask() -> tuple[Document | None, bool]:
            found: Document | None
            if name is not None:
                found = await self._cluster.get(INGRESS_CLASS.api_version, INGRESS_CLASS.kind, "", name)
            else:
                classes = await self._cluster.list(INGRESS_CLASS.api_version, INGRESS_CLASS.kind, "")
                found = default_of(classes)
            return found, False

        unknown: Document = {"metadata": {"name": name or ""}, "spec": {}}
        answer: Document | None = await self._remembered(("class", name or ""), ask, unknown=unknown)
        return answer

    async def _remembered(self, key: tuple[str, ...], ask: Any, unknown: Any = None) -> Any:
        """The answer, asked for anew if it is too old. `unknown`: where the operator may not ask."""
        now = self._clock()
        if key in self._kept and now < self._kept[key][0]:
            return self._kept[key][1]
        try:
            answer, is_settled = await ask()
        except ApiError as error:
            if error.code != 403:
                raise
            answer, is_settled = unknown, True
        lasts_s = self._settled_s if is_settled else self._settings.missing_seconds
        self._kept[key] = (now + 0.9 * lasts_s, answer)
        return answer

    @property
    def _settled_s(self) -> float:
        """How long what is there is taken to be there."""
        settings = self._settings
        n_reads = max(len(self._kept), len(self._users_of_classes))
        return min(settings.drift_seconds, max(settings.missing_seconds, SECONDS_PER_READ * n_reads))

    def forget_old(self) -> None:
        """What nobody has asked for in a long time."""
        before = self._clock() - FORGET_AFTER_S
        self._kept = {key: kept for key, kept in self._kept.items() if kept[0] > before}
        self._users_of_classes = {key: at for key, at in self._users_of_classes.items() if at > before}


def default_of(classes: Iterable[Document]) -> Document | None:
    """Of several default classes the one that the API server takes: the newest, then the first by name."""
    defaults = [one for one in classes if (one["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"]
    by_name = sorted(defaults, key=lambda one: str(one["metadata"]["name"]))
    return max(by_name, key=lambda one: str(one["metadata"].get("creationTimestamp")), default=None)


def _last_seen(event: Document) -> str:
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((str(one) for one in times if one), "")

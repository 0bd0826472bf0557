"""Another client that keeps changing fields that the operator writes: how long to wait before the next revert, and what the status says.

Another operator with another Lease, an autoscaler on the Deployment, a script: each revert makes them write again. So the
more often a child drifts, the longer the operator waits; from `TOLD_FROM` drifts in a row it is a FieldConflict, until
no drift came for `CLEARED_AFTER_S`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from whisper_operator.cluster_protocol import ApiError, Cluster
from whisper_operator.kinds import AUTOSCALER, DEPLOYMENT
from whisper_operator.reconcile.managed_fields import Path, changed_fields, managers_of, path_text
from whisper_operator.resource.fields import Document
from whisper_operator.snapshot import ChildKey, FieldConflict

MAX_BACK_OFF_S = 60.0
"""Longest wait between two reverts of a child that another client keeps changing."""
TOLD_FROM = 3
"""Drifts in a row: two are an edit by hand and its second try."""
CLEARED_AFTER_S = 5 * MAX_BACK_OFF_S
"""Longer than the longest pause between two drifts in a row, 2 × MAX_BACK_OFF_S, so that the condition does not come and go."""
MAX_FIELDS = 5
"""Of a child, in a message; those that were seen first stay, so that the message settles."""
REPLICAS: Path = ("spec", "replicas")


@dataclass
class _Drifts:
    n: int = 0
    last_s: float = 0.0
    quiet_until_s: float = 0.0
    conflict: FieldConflict | None = None


class FieldConflicts:
    """Drifts of all children, by the uid of their endpoint."""

    def __init__(self, cluster: Cluster, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._clock = clock
        self._drifts: dict[str, dict[ChildKey, _Drifts]] = {}

    def forget(self, uid: str) -> None:
        self._drifts.pop(uid, None)

    def forget_child(self, uid: str, key: ChildKey) -> None:
        self._drifts.get(uid, {}).pop(key, None)

    def wait_s(self, uid: str, key: ChildKey) -> float:
        """How long the next revert has to wait; 0: not at all."""
        return max(0.0, self._of(uid, key).quiet_until_s - self._clock())

    async def as_read(self, uid: str, key: ChildKey, live: Document | None) -> Document | None:
        """The drifted child before its revert; with `managedFields`, which the store lacks, where the status names them."""
        if live is None or self._next_n(self._of(uid, key)) < TOLD_FROM:
            return live
        namespace = live["metadata"]["namespace"]
        return await self._cluster.get(live["apiVersion"], key.kind, namespace, key.name) or live

    async def note(
        self, uid: str, key: ChildKey, live: Document | None, after: Document, desired: Document | None = None
    ) -> None:
        """A revert: the child as `as_read` gave it, and as it is now."""
        drifts, now = self._of(uid, key), self._clock()
        drifts.n, drifts.last_s = self._next_n(drifts), now
        drifts.quiet_until_s = now + min(MAX_BACK_OFF_S, 0.25 * 2 ** min(drifts.n, 30))
        if drifts.n < TOLD_FROM:
            return
        paths = () if live is None else changed_fields(live, after, desired or after)
        if live is not None and not paths:
            return  # the client itself has put it back in the meantime
        managers = () if live is None else managers_of(live, paths)
        known = drifts.conflict or FieldConflict(key=key)
        autoscalers: Iterable[str] = known.autoscalers
        if key.kind == DEPLOYMENT.kind and REPLICAS in paths and not known.autoscalers:
            autoscalers = await self._autoscalers(after)
        drifts.conflict = replace(
            known,
            fields=tuple(dict.fromkeys((*known.fields, *map(path_text, paths))))[:MAX_FIELDS],
            managers=tuple(sorted({*known.managers, *managers})),
            autoscalers=tuple(autoscalers),
        )

    def current(self, uid: str) -> tuple[FieldConflict, ...]:
        """Those that last, by child."""
        found = [
            (key, drifts.conflict) for key, drifts in self._drifts.get(uid, {}).items() if self._left_s(drifts) > 0
        ]
        return tuple(conflict for _, conflict in sorted(found, key=lambda one: one[0]) if conflict is not None)

    def left_s(self, uid: str) -> float | None:
        """When the next conflict is over, unless there is another drift; None: there is none."""
        return min(
            (left for drifts in self._drifts.get(uid, {}).values() if (left := self._left_s(drifts)) > 0), default=None
        )

    def _left_s(self, drifts: _Drifts) -> float:
        if drifts.conflict is None:
            return 0.0
        left = drifts.last_s + CLEARED_AFTER_S - self._clock()
        if left <= 0:
            drifts.conflict = None
        return left

    def _next_n(self, drifts: _Drifts) -> int:
        return 1 if self._clock() > drifts.quiet_until_s + MAX_BACK_OFF_S else drifts.n + 1

    def _of(self, uid: str, key: ChildKey) -> _Drifts:
        return self._drifts.setdefault(uid, {}).setdefault(key, _Drifts())

    async def _autoscalers(self, deployment: Document) -> tuple[str, ...]:
        """HorizontalPodAutoscalers of the namespace that scale this Deployment. They lack our labels, so they are not watched."""
        metadata = deployment["metadata"]
        try:
            found = await self._cluster.list(AUTOSCALER.api_version, AUTOSCALER.kind, metadata["namespace"])
        except ApiError as error:
            if error.code != 403:
                raise
            return ()
        targets = ((one["metadata"]["name"], one.get("spec", {}).get("scaleTargetRef") or {}) for one in found)
        wanted = (DEPLOYMENT.kind, metadata["name"])
        return tuple(sorted(name for name, target in targets if (target.get("kind"), target.get("name")) == wanted))

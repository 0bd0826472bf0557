"""Staged rollout of a new default image: a few endpoints at a time, the next ones when these are ready, none after a failure.

`planned` is pure; `ImageRollout` remembers the stages and enqueues endpoints whose turn has come. A Deployment that gets the
image in its turn has an annotation, so that an operator that restarts knows which ones are under way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from whisper_operator import manifests
from whisper_operator.kinds import DEPLOYMENT
from whisper_operator.reconcile.inputs import truth_of
from whisper_operator.reconcile.store import CachedObject, Key, Store, owner_of


class Stage(StrEnum):
    """Where an endpoint is; those that run the newest default image, or one of their own, have no stage."""

    WAITING = "waiting"
    UNWELL = "unwell"
    """It waits, and its last rollout is stuck: its failure would say nothing of the image."""
    ROLLING = "rolling"
    FAILED = "failed"


@dataclass(frozen=True)
class Plan:
    """What the stages of all endpoints allow."""

    turns: frozenset[Key] = frozenset()
    """Endpoints that wait no longer."""
    stopped_by: Key | None = None


def planned(stages: Mapping[Key, Stage], at_once: int) -> Plan:
    """`at_once` endpoints roll at a time, of those known to wait the first by name; those that are unwell come last."""
    by_stage: dict[Stage, list[Key]] = {stage: [] for stage in Stage}
    for key in sorted(stages):
        by_stage[stages[key]].append(key)
    if by_stage[Stage.FAILED]:
        return Plan(stopped_by=by_stage[Stage.FAILED][0])
    n_free = at_once - len(by_stage[Stage.ROLLING])
    waiting = by_stage[Stage.WAITING]
    if not waiting and not by_stage[Stage.ROLLING]:
        waiting = by_stage[Stage.UNWELL]
    return Plan(turns=frozenset(waiting[: max(n_free, 0)]))


class ImageRollout:
    """The stages of all endpoints. `at_once` 0: no endpoint waits."""

    def __init__(
        self, at_once: int, enqueue: Callable[[Key], None], observe: Callable[[Mapping[str, int]], None]
    ) -> None:
        self._at_once = at_once
        self._enqueue = enqueue
        self._observe = observe
        self._stages: dict[Key, Stage] = {}
        self._plan = Plan()

    def set(self, key: Key, stage: Stage | None) -> None:
        """Notes the stage of an endpoint (None: it takes no part), and enqueues the others that this affects."""
        if self._stages.get(key) == stage:
            return
        before = self._plan
        if stage is None:
            del self._stages[key]
        else:
            self._stages[key] = stage
        self._plan = planned(self._stages, self._at_once)
        self._observe(Counter(map(str, self._stages.values())))
        affected = self._plan.turns - before.turns
        if self._plan.stopped_by != before.stopped_by:
            affected |= {other for other, its in self._stages.items() if its in (Stage.WAITING, Stage.UNWELL)}
        for other in sorted(affected - {key}):
            self._enqueue(other)

    def has_turn(self, key: Key) -> bool:
        return self._stages.get(key) in (Stage.ROLLING, Stage.FAILED)

    def takes_turn(self, key: Key, *, is_well: bool) -> bool:
        """Whether an endpoint with an earlier default image gets the new one now; it rolls from then on."""
        if not self._at_once or self.has_turn(key):
            return True
        self.set(key, Stage.WAITING if is_well else Stage.UNWELL)
        if key not in self._plan.turns:
            return False
        self.set(key, Stage.ROLLING)
        return True

    def keep_turn(self, key: Key, *, is_stuck: bool) -> None:
        """The endpoint still rolls, or has failed. A failure lasts until it is ready: a condition that flaps for a moment frees no turn."""
        has_failed = is_stuck or self._stages.get(key) is Stage.FAILED
        self.set(key, Stage.FAILED if has_failed else Stage.ROLLING)

    def verdict(self, key: Key) -> tuple[bool, str]:
        """Whether the endpoint waits, and `namespace/name` of the endpoint that stops the rollout. Part of a reconciliation's inputs."""
        waits = self._stages.get(key) in (Stage.WAITING, Stage.UNWELL) and key not in self._plan.turns
        return waits, "/".join(self._plan.stopped_by or ()) if waits else ""

    def resume(self, store: Store, images: Iterable[str]) -> None:
        """After a restart: the Deployments that are under way to one of these images, and those that are stuck there."""
        wanted = frozenset(images)
        for cached in store.of_kind(DEPLOYMENT.kind).values():
            key = _under_way(cached, wanted)
            endpoint = None if key is None else store.endpoint(key)
            if key is not None and endpoint is not None:
                self.keep_turn(key, is_stuck=truth_of(endpoint.get("status") or {}, "Progressing") == "False")


def _under_way(cached: CachedObject, images: frozenset[str]) -> Key | None:
    deployed = cached.document
    is_staged = manifests.staged_image(deployed) in images
    return owner_of(deployed) if is_staged and not manifests.has_rolled_out(deployed) else None

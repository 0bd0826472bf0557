"""Whether an endpoint gets a new default image now: what `image_rollout` decides, for the Deployment that there is.

Only endpoints that serve wait: without pods that serve there is nothing to lose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from whisper_operator import manifests, names
from whisper_operator.kinds import DEPLOYMENT
from whisper_operator.manifests.documents import from_registry
from whisper_operator.metrics import Metrics
from whisper_operator.reconcile.image_rollout import ImageRollout
from whisper_operator.reconcile.inputs import truth_of
from whisper_operator.reconcile.store import Key, Store
from whisper_operator.resource.fields import Document
from whisper_operator.resource.spec import Endpoint
from whisper_operator.settings import Settings
from whisper_operator.snapshot import ImageHold


@dataclass(frozen=True)
class Turn:
    """What an endpoint gets."""

    settings: Settings
    """With the default image that its pods are to have."""
    hold: ImageHold | None = None
    """It keeps an earlier one."""
    staged: str = ""
    """The one that it gets in its turn; empty: none, or at once."""


class Outcome(Enum):
    """What became of the endpoint's children."""

    SENT = "sent"
    """Applied, or to be tried again."""
    REFUSED = "refused"
    """The API server refuses one of them."""
    INVALID = "invalid"
    """The spec makes none."""


class ImageTurns:
    """The staged rollout, as the reconciler sees it."""

    def __init__(self, settings: Settings, store: Store, metrics: Metrics, enqueue: Callable[[Key], None]) -> None:
        self._settings = settings
        self._store = store
        self._rollout = ImageRollout(settings.image_rollout_at_once, enqueue, metrics.observe_image_rollout)

    def resume(self) -> None:
        """At start, once the store is full."""
        registry = self._settings.defaults.image_registry
        images = (self._settings.server_image_gpu, self._settings.server_image_cpu)
        self._rollout.resume(self._store, (from_registry(image, registry) for image in images))

    def verdict(self, key: Key) -> tuple[bool, str]:
        return self._rollout.verdict(key)

    def forget(self, key: Key) -> None:
        self._rollout.set(key, None)

    def turn_of(
        self, key: Key, document: Document, endpoint: Endpoint, deployed: Document | None, *, is_preloading: bool
    ) -> Turn:
        """`document` has the previous status. An endpoint whose turn it is counts as rolling from now on; not one whose Deployment
        stays as it is until a Job has fetched the model: that may never be, and the others would wait for it.
        """
        kept = manifests.earlier_default(endpoint, self._settings, deployed)
        before = document.get("status") or {}
        if not kept or is_preloading or truth_of(before, "Available") != "True":
            return Turn(self._settings)
        is_well = truth_of(before, "Progressing") != "False"
        counts = is_well or self._rollout.has_turn(key)  # one that was unwell before says nothing of the image
        wanted = manifests.image_of(endpoint, self._settings)
        if self._rollout.takes_turn(key, is_well=is_well):
            is_staged = counts and self._settings.image_rollout_at_once > 0
            return Turn(self._settings, staged=wanted if is_staged else "")
        hold = ImageHold(kept=kept, wanted=wanted, stopped_by=self._rollout.verdict(key)[1])
        return Turn(manifests.keeping(self._settings, kept), hold)

    def note(self, key: Key, new: Mapping[str, object], turn: Turn, outcome: Outcome) -> None:
        """Once the new status is known: whether an endpoint that got an image in its turn is done, or has failed."""
        if turn.hold is not None:
            return
        cached = self._store.cached(DEPLOYMENT.kind, key.namespace, names.child_name(key.name))
        deployed = None if cached is None else cached.document
        given = manifests.staged_image(deployed)
        has_it = bool(given) and turn.staged in ("", given)  # it may be that of the last rollout
        if turn.staged and not has_it and outcome is not Outcome.INVALID:
            # An answer that got lost, or a conflict, says nothing of the Deployment: giving its turn away let two endpoints roll.
            self._rollout.keep_turn(key, is_stuck=outcome is Outcome.REFUSED)
        elif deployed is None or not has_it or manifests.has_rolled_out(deployed):
            self._rollout.set(key, None)
        else:
            self._rollout.keep_turn(key, is_stuck=truth_of(new, "Progressing") == "False")

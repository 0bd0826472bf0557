"""An issue of one pod, and the order of severity."""

from __future__ import annotations

import dataclasses

from whisper_operator.status import reasons

_WORST_FIRST = (
    reasons.SECRET_MISSING,
    reasons.CONFIG_ERROR,
    reasons.INVALID_IMAGE_NAME,
    reasons.OUT_OF_MEMORY,
    reasons.CRASH_LOOP,
    reasons.STARTUP_TIMEOUT,
    reasons.IMAGE_PULL,
    reasons.FAILED_MOUNT,
    "",  # any other reason of the kubelet
    reasons.NODE_NOT_READY,
    reasons.POD_FAILED,
    reasons.EVICTED,
    reasons.NOT_READY,
    reasons.MODEL_LOADING,
    reasons.CONTAINER_CREATING,
)
_RANKS = {reason: rank for rank, reason in enumerate(_WORST_FIRST)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PodIssue:
    """Why a pod is not ready. `text` follows the pod's name and a colon."""

    reason: str
    text: str
    advice: str
    hard: bool = True

    @property
    def rank(self) -> int:
        return _RANKS.get(self.reason, _RANKS[""])

    def __lt__(self, other: PodIssue) -> bool:
        return self.rank < other.rank

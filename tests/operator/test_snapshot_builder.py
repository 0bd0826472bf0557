from datetime import UTC, datetime
from typing import Any

import pytest

from whisper_operator.reconcile.snapshot_builder import (
    age_s,
    is_pending,
    is_starting,
    poll_delay_s,
    waits_without_reason,
)

NOW = datetime(2026, 1, 2, 3, 5, 5, tzinfo=UTC)


def pod(
    phase: str = "Pending", node: str = "n", *, waiting: dict[str, Any] | None = None, ready: bool = False
) -> dict[str, Any]:
    status: dict[str, Any] = {"phase": phase, "conditions": [{"type": "Ready", "status": str(ready)}]}
    if waiting is not None:
        status["containerStatuses"] = [{"state": {"waiting": waiting}}]
    metadata = {"name": "p", "creationTimestamp": "2026-01-02T03:04:05Z"}
    return {"metadata": metadata, "spec": {"nodeName": node} if node else {}, "status": status}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (pod(), True),
        (pod(waiting={"reason": "ContainerCreating"}), True),
        (pod(waiting={"reason": "PodInitializing"}), True),
        (pod(waiting={"reason": "ImagePullBackOff", "message": "no such image"}), False),
        (pod(waiting={"reason": "ContainerCreating", "message": "words"}), False),
        (pod(node=""), False),
        (pod("Running"), False),
        ({**pod(), "metadata": {"name": "p", "deletionTimestamp": "2026-01-02T03:04:06Z"}}, False),
    ],
)
def test_pod_waits_without_reason_only_on_its_node(document: dict[str, Any], expected: bool) -> None:
    assert waits_without_reason(document) is expected


def test_only_starting_pods_change_with_time_alone() -> None:
    assert is_starting(pod("Running"))
    assert is_starting(pod())
    assert not is_starting(pod("Running", ready=True))
    assert not is_starting(pod(node=""))


@pytest.mark.parametrize(
    ("first_s", "age_s", "expected_s"), [(5, 0, 5), (5, 50, 5), (5, 100, 10), (5, 10_000, 60), (120, 10_000, 120)]
)
def test_poll_delay_grows_up_to_a_minute(first_s: float, age_s: float, expected_s: float) -> None:
    assert poll_delay_s(first_s, age_s) == expected_s


def test_age_and_pending_claims_are_computed() -> None:
    assert age_s(pod(), NOW) == 60
    assert is_pending({"metadata": {}})
    assert is_pending({"status": {"phase": "Pending"}})
    assert not is_pending({"status": {"phase": "Bound"}})

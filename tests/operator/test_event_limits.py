from typing import Any

from whisper_operator.cluster.events import BURST, REFILL_S, REMEMBERED, REPEAT_S, EventLimits, event_document
from whisper_operator.resource.fields import Document


def event(message: str = "m", uid: str = "u1", reason: str = "Ready") -> dict[str, Any]:
    metadata = {"namespace": "team-a", "name": "speech", "uid": uid}
    regarding = {"apiVersion": "whisper-operator.io/v1alpha1", "kind": "WhisperEndpoint", "metadata": metadata}
    return event_document(
        regarding, type_="Normal", reason=reason, message=message, action="Reconcile", identity="pod-1"
    )


class Bench:
    def __init__(self) -> None:
        self.now_s = 1000.0
        self.told: list[str] = []
        self.limits = EventLimits(lambda: self.now_s)

    async def tell(self, **what: Any) -> None:
        async def post(document: Document) -> None:
            self.told.append(document["note"])

        await self.limits.record(event(**what), post)


async def test_equal_message_is_repeated_only_after_a_while() -> None:
    bench = Bench()
    for bench.now_s in (1000, 1001, 1000 + REPEAT_S - 1):
        await bench.tell()
    assert bench.told == ["m"]
    bench.now_s = 1000 + REPEAT_S
    await bench.tell()
    assert bench.told == ["m", "m"]


async def test_other_messages_and_objects_are_not_limited() -> None:
    bench = Bench()
    await bench.tell()
    await bench.tell(message="other")
    await bench.tell(uid="u2")
    await bench.tell(reason="Other")
    assert bench.told == ["m", "other", "m", "m"]


async def test_events_per_object_are_limited() -> None:
    bench = Bench()
    for number in range(1000):
        await bench.tell(message=str(number))
    assert len(bench.told) == BURST
    await bench.tell(uid="u2")
    assert len(bench.told) == BURST + 1
    bench.now_s += 3 * REFILL_S
    for number in range(1000, 2000):
        await bench.tell(message=str(number))
    assert len(bench.told) == BURST + 1 + 3


async def test_event_limits_use_bounded_memory() -> None:
    bench = Bench()
    for number in range(REMEMBERED + 100):
        await bench.tell(uid=str(number))
    assert len(bench.limits._recent) == REMEMBERED
    assert len(bench.limits._budgets) == REMEMBERED


def test_note_has_at_most_1024_bytes() -> None:
    note = event("ü" * 2000)["note"]
    assert len(note.encode()) <= 1024
    assert note.endswith("ü…")


def test_event_has_a_unique_name_and_a_kubernetes_time() -> None:
    first, second = event(), event()
    assert first["metadata"]["name"] != second["metadata"]["name"]
    assert first["metadata"]["name"].startswith("speech.")
    assert first["eventTime"].endswith("Z")

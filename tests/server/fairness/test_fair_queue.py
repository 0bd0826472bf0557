"""Turns go by owner, then by request, whatever the owners' backlogs; work that cost more counts."""

from __future__ import annotations

import pytest

from whisper_server.fairness.backlog import Backlog
from whisper_server.fairness.fair_queue import FairQueue


def order(queue: FairQueue[str], n: int = 100) -> list[str]:
    taken: list[str] = []
    while len(taken) < n and (item := queue.pop()) is not None:
        taken.append(item)
    return taken


def test_owner_with_many_requests_gets_one_turn_of_two() -> None:
    queue: FairQueue[str] = FairQueue()
    for request in range(50):
        for window in range(3):
            queue.add("many", request, f"many{request}.{window}")
    queue.add("one", 0, "one0")
    queue.add("one", 0, "one1")
    assert order(queue, 5) == ["many0.0", "one0", "many1.0", "one1", "many2.0"]


def test_requests_of_an_owner_take_turns() -> None:
    queue: FairQueue[str] = FairQueue()
    for request, n_items in (("long", 3), ("short", 1)):
        for number in range(n_items):
            queue.add("me", request, f"{request}{number}")
    assert order(queue) == ["long0", "short0", "long1", "long2"]


def test_newcomer_is_next_though_others_waited_long() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(100):
        queue.add("old", 0, f"old{number}")
    assert len(order(queue, 60)) == 60
    queue.add("new", 0, "new")
    assert "new" in order(queue, 2)


def test_dear_work_costs_turns() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(10):
        queue.add("dear", number, f"dear{number}")
        queue.add("cheap", number, f"cheap{number}")
    assert queue.pop(cost=1) == "dear0"
    queue.charge("dear", 5)
    assert order(queue, 7) == [*(f"cheap{number}" for number in range(6)), "dear1"]


def test_items_that_may_not_run_yet_are_passed_over() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.add("a", 0, "long")
    queue.add("b", 0, "clip")
    assert queue.pop(where=lambda item: item != "long") == "clip"
    assert queue.pop(where=lambda item: item != "long") is None
    assert (len(queue), queue.pop(), len(queue)) == (1, "long", 0)


def test_owners_that_may_have_no_more_are_passed_over() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.add("a", 0, "a0")
    queue.add("b", 0, "b0")
    assert queue.pop(may_have=lambda owner: owner != "a") == "b0"
    assert queue.pop(may_have=lambda owner: owner != "a") is None
    assert order(queue) == ["a0"]


def test_times_say_who_has_had_less() -> None:
    queue: FairQueue[str] = FairQueue()
    assert queue.next_time() is None
    for number in range(3):
        queue.add("a", 0, f"a{number}")
        queue.add("b", 0, f"b{number}")
    assert (queue.pop(cost=2), queue.pop(cost=3)) == ("a0", "b0")
    assert (queue.time_of("a"), queue.time_of("b"), queue.time_of("new"), queue.next_time()) == (2, 3, 0, 2)


def test_owners_without_work_are_forgotten() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.add("always", 0, "first")
    for number in range(1000):
        queue.add("always", 0, "more")
        queue.add(number, 0, "once")
        queue.pop()
        queue.pop()
    assert len(queue._owners) < 10
    queue.remove("always", 0, "more")
    assert order(queue) == []


@pytest.mark.parametrize(
    ("owner", "amount", "before"),
    [
        ("new", 1, 2),  # one window of each of the other owners
        ("new", 100, 150),  # another's backlog counts no further than mine, and all that it has
        ("long", 1, 3),  # one of the other request of this owner, and two turns of the other owner
        ("long", 480, 480 + 50),
    ],
)
def test_what_comes_before_a_newcomer(owner: str, amount: float, before: float) -> None:
    backlog = Backlog()
    backlog.add("long", "file", 480)
    backlog.add("clips", "one", 30)
    backlog.add("clips", "two", 20)
    assert backlog.before(owner, amount) == before


def test_backlog_ends_with_its_requests() -> None:
    backlog = Backlog()
    for owner in ("a", "b"):
        for request in range(3):
            backlog.add(owner, request, 0.1)
            backlog.add(owner, request, 0.2)
    backlog.add("a", 0, -0.1)
    for owner in ("a", "b"):
        for request in range(3):
            backlog.drop(owner, request)
            backlog.drop(owner, request)
    assert (backlog.total, backlog.before("c", 10), backlog._by_owner, backlog._totals) == (0, 0, {}, {})

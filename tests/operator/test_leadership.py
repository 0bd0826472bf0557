import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from operator_kit.memory_cluster import NO_ANSWER, MemoryCluster
from whisper_operator.cluster_protocol import ApiError
from whisper_operator.leadership import Leadership, LeaseLost

LEASE_S = 15.0


class Time:
    """A clock that advances only when all tasks sleep."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now_s + seconds, next(self._order), future))
        await future

    async def pass_by(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= until_s:
            due_s, _, future = heapq.heappop(self._sleepers)
            self.now_s = max(self.now_s, due_s)
            if not future.done():
                future.set_result(None)
            await self.settle()
        self.now_s = until_s

    @staticmethod
    async def settle() -> None:
        for _ in range(30):
            await asyncio.sleep(0)


class Contender:
    """A candidate that acquires and keeps the Lease, and records how long it was the leader."""

    def __init__(self, cluster: MemoryCluster, time: Time, identity: str) -> None:
        self.leadership = Leadership(
            cluster,
            namespace="whisper",
            name="whisper-operator",
            identity=identity,
            lease_s=LEASE_S,
            clock=lambda: time.now_s,
            sleep=time.sleep,
        )
        self.identity = identity
        self.leads = False
        self.lost = ""
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        await self.leadership.acquire()
        self.leads = True
        try:
            await self.leadership.keep()
        except LeaseLost as lost:
            self.lost = str(lost)
        finally:
            self.leads = False

    async def die(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def cluster() -> MemoryCluster:
    return MemoryCluster()


def lease(cluster: MemoryCluster) -> dict[str, Any]:
    spec: dict[str, Any] = cluster.objects["Lease", "whisper", "whisper-operator"]["spec"]
    return spec


async def ended(*contenders: Contender) -> None:
    for contender in contenders:
        await contender.die()


async def test_first_operator_becomes_leader_and_logs_it(cluster: MemoryCluster, time: Time) -> None:
    a = Contender(cluster, time, "a")
    await time.pass_by(0)
    assert a.leads
    assert (lease(cluster)["holderIdentity"], lease(cluster)["leaseDurationSeconds"]) == ("a", 15)
    before = lease(cluster)["renewTime"]
    await time.pass_by(LEASE_S)
    assert a.leads
    assert lease(cluster)["renewTime"] > before
    assert lease(cluster)["leaseTransitions"] == 0
    await ended(a)


async def test_standby_takes_over_within_the_lease_and_never_in_parallel(cluster: MemoryCluster, time: Time) -> None:
    a = Contender(cluster, time, "a")
    await time.pass_by(0)
    b = Contender(cluster, time, "b")
    await time.pass_by(100)
    assert (a.leads, b.leads) == (True, False)
    await a.die()
    await time.pass_by(0.8 * LEASE_S - 3)
    assert not b.leads
    await time.pass_by(0.2 * LEASE_S + 3)
    assert b.leads
    assert lease(cluster)["leaseTransitions"] == 1
    await ended(b)


@pytest.mark.parametrize("died_after_s", [0.0, 1.4, 2.9])
async def test_standby_takes_over_whenever_the_leader_dies(
    cluster: MemoryCluster, time: Time, died_after_s: float
) -> None:
    a = Contender(cluster, time, "a")
    await time.pass_by(0)
    b = Contender(cluster, time, "b")
    await time.pass_by(30 + died_after_s)
    await a.die()
    await time.pass_by(LEASE_S)
    assert b.leads
    await ended(b)


async def test_released_lease_is_taken_at_once(cluster: MemoryCluster, time: Time) -> None:
    a = Contender(cluster, time, "a")
    await time.pass_by(0)
    b = Contender(cluster, time, "b")
    await time.pass_by(10)
    await a.die()
    await a.leadership.release()
    await time.pass_by(1)
    assert b.leads
    await ended(b)


async def test_restarted_holder_need_not_wait(cluster: MemoryCluster, time: Time) -> None:
    a = Contender(cluster, time, "pod-1")
    await time.pass_by(0)
    await a.die()
    again = Contender(cluster, time, "pod-1")
    await time.pass_by(0)
    assert again.leads
    await ended(again)


async def test_holder_that_cannot_renew_stops_before_a_takeover(cluster: MemoryCluster, time: Time) -> None:
    cut_off = {"a": False}

    def cut(method: str, kind: str, name: str) -> None:
        task = asyncio.current_task()
        if cut_off["a"] and task is a.task:
            raise NO_ANSWER

    a = Contender(cluster, time, "a")
    await time.pass_by(0)
    b = Contender(cluster, time, "b")
    cluster.before = cut
    await time.pass_by(20)
    cut_off["a"] = True
    for _ in range(40):
        await time.pass_by(0.5)
        assert not (a.leads and b.leads)
        if not a.leads:
            break
    assert "could not be renewed" in a.lost
    assert not b.leads
    await time.pass_by(LEASE_S)
    assert b.leads
    await ended(a, b)


async def test_process_suspended_beyond_its_lease_stops(cluster: MemoryCluster, time: Time) -> None:
    a = Contender(cluster, time, "a")
    await time.pass_by(0)
    time.now_s += 60
    await time.pass_by(5)
    assert "could not be renewed" in a.lost
    await ended(a)


async def test_short_outage_keeps_the_lease(cluster: MemoryCluster, time: Time) -> None:
    a = Contender(cluster, time, "a")
    await time.pass_by(0)
    cluster.before = raising(NO_ANSWER)
    await time.pass_by(5)
    cluster.before = lambda method, kind, name: None
    await time.pass_by(60)
    assert a.leads
    await ended(a)


def raising(error: ApiError) -> Callable[[str, str, str], None]:
    def fail(method: str, kind: str, name: str) -> None:
        raise error

    return fail


async def test_lost_answer_keeps_the_lease(cluster: MemoryCluster, time: Time) -> None:
    a = Contender(cluster, time, "a")
    await time.pass_by(0)
    cluster.after = raising(NO_ANSWER)
    await time.pass_by(4)
    cluster.after = lambda method, kind, name: None
    await time.pass_by(60)
    assert a.leads
    await ended(a)


async def test_foreign_label_keeps_the_lease(cluster: MemoryCluster, time: Time) -> None:
    a = Contender(cluster, time, "a")
    await time.pass_by(0)
    there = cluster.objects["Lease", "whisper", "whisper-operator"]
    cluster.put({**there, "metadata": {**there["metadata"], "labels": {"a": "b"}}})
    await time.pass_by(60)
    assert a.leads
    await ended(a)


async def test_taken_lease_is_lost_at_the_next_renewal(cluster: MemoryCluster, time: Time) -> None:
    a = Contender(cluster, time, "a")
    await time.pass_by(0)
    there = cluster.objects["Lease", "whisper", "whisper-operator"]
    cluster.put({**there, "spec": {**there["spec"], "holderIdentity": "b"}})
    await time.pass_by(3)
    assert a.lost == "the Lease is now held by b"
    await ended(a)


async def test_deleted_lease_is_recreated(cluster: MemoryCluster, time: Time) -> None:
    a = Contender(cluster, time, "a")
    await time.pass_by(0)
    cluster.remove("Lease", "whisper", "whisper-operator")
    await time.pass_by(10)
    assert a.leads
    assert lease(cluster)["holderIdentity"] == "a"
    await ended(a)


async def test_one_of_many_candidates_becomes_leader(cluster: MemoryCluster, time: Time) -> None:
    contenders = [Contender(cluster, time, f"pod-{number}") for number in range(5)]
    await time.pass_by(40)
    assert sum(contender.leads for contender in contenders) == 1
    await ended(*contenders)


async def test_release_never_fails(cluster: MemoryCluster, time: Time) -> None:
    a = Contender(cluster, time, "a")
    await a.leadership.release()
    await time.pass_by(0)
    await a.die()
    cluster.before = raising(NO_ANSWER)
    await a.leadership.release()


async def test_standby_survives_an_api_server_outage(cluster: MemoryCluster, time: Time) -> None:
    cluster.before = raising(NO_ANSWER)
    a = Contender(cluster, time, "a")
    await time.pass_by(60)
    assert not a.leads
    cluster.before = lambda method, kind, name: None
    await time.pass_by(1)
    assert a.leads
    await ended(a)

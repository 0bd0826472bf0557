"""A new default image that no pod starts with reaches as many endpoints as may roll at once, whatever comes in between.

Reconciles of several endpoints run at the same time, watch events arrive late, answers of the API server get lost, and the
operator restarts, in an order that a seed decides. What Kubernetes' controllers do is in `Course.control`.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import Any

import pytest

from operator_kit.live_objects import condition
from operator_kit.live_pods import pod
from operator_kit.memory_cluster import SERVER_ERROR, MemoryCluster
from operator_kit.reconciling import Bench
from whisper_operator import names
from whisper_operator.cluster_protocol import ApiError
from whisper_operator.kinds import ENDPOINT_SLICE
from whisper_operator.manifests import has_rolled_out
from whisper_operator.manifests.default_image import image_in
from whisper_operator.reconcile.store import Key, owner_of
from whisper_operator.reconcile.work_queue import Result
from whisper_operator.resource.fields import Document
from whisper_operator.settings import Settings

KEYS = [Key("team-a", name) for name in ("a", "b", "c", "d")]
OLD, NEW = "registry.test/cpu:1", "registry.test/cpu:2"
CONFLICT = ApiError(409, "Conflict", "it was changed")
REFUSED = ApiError(403, "Forbidden", "no image of this registry")
CLAIM = {"persistentVolumeClaim": {"size": "1Gi"}}
N_STEPS = 120
DELIVERS, CONTROLS = 0.25, 0.4
"""Shares of the steps: an event arrives; up to here, controllers act; else a reconcile that is due starts."""


def settings(image: str, at_once: int) -> Settings:
    return Settings(server_image_gpu="registry.test/gpu:1", server_image_cpu=image, image_rollout_at_once=at_once)


class SlowCluster(MemoryCluster):
    """Other tasks run between a call and its effect, and between the effect and its answer. Generations count."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance
        self.refuses = ""
        """An image of Deployments."""
        self.refused: set[str] = set()

    def put(self, document: Document) -> dict[str, Any]:
        metadata = document["metadata"]
        old = self.objects.get((document["kind"], metadata.get("namespace", ""), metadata["name"]))
        if old is not None and old.get("spec") != document.get("spec"):
            document = {**document, "metadata": {**metadata, "generation": old["metadata"]["generation"] + 1}}
        return super().put(document)

    async def apply(self, document: Document) -> dict[str, Any]:
        await self._pause()
        if self.refuses and self.refuses == image_in(document):
            self.refused.add(document["metadata"]["name"])
            raise REFUSED
        answer = await super().apply(document)
        await self._pause()
        return answer

    async def apply_status(self, document: Document) -> dict[str, Any]:
        await self._pause()
        return await super().apply_status(document)

    async def _pause(self) -> None:
        for _ in range(self._chance.randrange(4)):
            await asyncio.sleep(0)


class Course:
    """A rollout of NEW to endpoints that serve OLD."""

    def __init__(self, seed: int, at_once: int) -> None:
        self.chance = random.Random(seed)
        self.at_once = at_once
        self.new_starts = False
        self.bench = Bench(settings(OLD, 0))
        self.bench.cluster = self.cluster = SlowCluster(self.chance)
        self.bench.restart()
        self.late: deque[tuple[str, dict[str, Any]]] = deque()
        self.due: list[Key] = []
        self.tasks: dict[Key, asyncio.Task[Any]] = {}

    async def serve_old(self, spec: dict[str, Any] | None = None) -> None:
        for key in KEYS:
            self.bench.ask(spec, key=key)
            await self.bench.settle(key)
            self.control(key)
            await self.bench.settle(key)
            assert self.bench.conditions(key)["Available"]["status"] == "True"

    def control(self, key: Key) -> None:
        """Kubernetes' controllers see the Deployment: pods with OLD start, others are refused, and the old pod stays."""
        there = self.cluster.objects["Deployment", *key]
        starts = self.new_starts or image_in(there) == OLD
        conditions = [condition("Available", "True")]
        if not starts:
            conditions.append(condition("ReplicaFailure", "True", "FailedCreate", "exceeded quota"))
        counts = {"replicas": 1, "updatedReplicas": int(starts), "availableReplicas": 1, "readyReplicas": 1}
        status = {"observedGeneration": there["metadata"]["generation"], "conditions": conditions, **counts}
        if there.get("status") != status:
            self.cluster.put({**there, "status": status})
        if ("Pod", *key) not in self.cluster.objects:
            of_service = {**names.labels_of(key.name), "kubernetes.io/service-name": key.name}
            about = {"name": key.name, "namespace": key.namespace, "labels": of_service}
            made = pod(settings=there["spec"]["template"]["metadata"]["annotations"][names.SETTINGS_HASH_ANNOTATION])
            self.cluster.put({**made, "metadata": {**made["metadata"], **about}})
            kind = {"apiVersion": ENDPOINT_SLICE.api_version, "kind": ENDPOINT_SLICE.kind}
            self.cluster.put({**kind, "metadata": about, "endpoints": [{"conditions": {"ready": True}}]})

    def restart(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        self.tasks.clear()
        self.late.clear()
        self.bench.settings = settings(NEW, self.at_once)
        self.bench.restart()
        self.cluster.watch = lambda type_, document: self.late.append((type_, document))
        self.bench.reconciler.image_turns.resume()
        self.due = list(KEYS)

    async def run(self) -> None:
        for _ in range(N_STEPS):
            self._step()
            await asyncio.sleep(0)
            rolling = [one for one in self._deployments() if image_in(one) == NEW and not has_rolled_out(one)]
            assert len(rolling) <= self.at_once

    def _step(self) -> None:
        for key, task in list(self.tasks.items()):
            if task.done():
                del self.tasks[key]
                self.due += [key] * (task.result() != Result())
        self.due += self.bench.enqueued
        self.bench.enqueued.clear()
        share = self.chance.random()
        if share < DELIVERS:
            if self.late:
                type_, document = self.late.popleft()
                self.bench._see(type_, document)
                self.due += filter(None, [owner_of(document)])
        elif share < CONTROLS:
            self.control(self.chance.choice(KEYS))
        elif self.due:
            key = self.due.pop(self.chance.randrange(len(self.due)))
            if key in self.tasks:
                self.due.append(key)
            else:
                self.tasks[key] = asyncio.get_running_loop().create_task(self.bench.reconcile(key))

    def _deployments(self) -> list[dict[str, Any]]:
        return self.cluster.all_of("Deployment")

    def reason(self, key: Key) -> str:
        return str(self.bench.conditions(key).get("DefaultImage", {}).get("reason", ""))

    def with_new(self) -> set[str]:
        return {one["metadata"]["name"] for one in self._deployments() if image_in(one) == NEW}


@pytest.mark.parametrize("error", [None, SERVER_ERROR, CONFLICT], ids=str)
async def test_no_more_endpoints_than_may_roll_get_an_image_that_does_not_start(error: ApiError | None) -> None:
    """The answer to a Deployment gets lost, after the API server has written it."""
    for seed in range(4):
        course = Course(seed, at_once=1 + seed % 2)

        def lost(method: str, kind: str, name: str, course: Course = course) -> None:
            if error and method == "apply" and kind == "Deployment" and course.chance.random() < 0.6:
                raise error

        await course.serve_old()
        course.cluster.after = lost
        course.restart()
        await course.run()
        course.restart()
        await course.run()
        assert 1 <= len(course.with_new()) <= course.at_once, seed
        course.cluster.after = lambda method, kind, name: None
        course.new_starts = True
        for _ in KEYS:
            await course.run()
        assert len(course.with_new()) == len(KEYS), seed  # it goes on once the one that failed is ready


async def test_an_image_that_the_api_server_refuses_stops_at_the_first_endpoints() -> None:
    course = Course(0, at_once=2)
    await course.serve_old()
    course.cluster.refuses = NEW
    course.restart()
    await course.run()
    assert 1 <= len(course.cluster.refused) <= course.at_once
    assert {reason for key in KEYS if (reason := course.reason(key))} == {"ImageRolloutStopped"}


async def test_an_endpoint_whose_pods_wait_for_a_model_takes_no_turn() -> None:
    """Its Deployment stays as it is until the Job is done, which may never be."""
    course = Course(0, at_once=1)
    await course.serve_old({"cache": CLAIM})
    course.bench.ask({"cache": {**CLAIM, "preload": True}}, key=KEYS[0])
    course.restart()
    course.new_starts = True
    for _ in KEYS:
        await course.run()
    assert course.with_new() == {"b", "c", "d"}
    (job,) = course.cluster.all_of("Job")
    course.cluster.put({**job, "status": {"conditions": [condition("Complete", "True")]}})
    await course.run()
    assert course.with_new() == {"a", "b", "c", "d"}

"""Which of several operators does the work: the one that holds a Lease and renews it.

Our own loop, because the client's takes the wall clock for the lease's age, writes local times as UTC, ends at a lost
connection and never gives a Lease back. Here only monotonic time counts: a holder stops well before anybody else may
take over, and whoever waits measures how long the Lease did not change while it was looking.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from whisper_operator.cluster_protocol import ApiError
from whisper_operator.kinds import LEASE
from whisper_operator.resource.fields import Document

log = logging.getLogger(__name__)

RENEW_EVERY = 0.2
"""Parts of the lease's time: how often it is renewed, …"""
GIVE_UP_AFTER = 0.6
"""… after how long without success the holder stops, …"""
TAKE_OVER_AFTER = 0.85
"""… and after how long without a change another one takes it; the rest is for looking and for slow clocks."""
LOOK_EVERY = 0.05
RELEASE_S = 1.0


class LeaseLost(Exception):
    """Somebody else may be at work: this process must not go on."""


class LeaseStorage(Protocol):
    """Where Leases are; see `cluster`."""

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> dict[str, Any] | None: ...

    async def create(self, document: Document) -> dict[str, Any]: ...

    async def replace(self, document: Document) -> dict[str, Any]: ...


class Leadership:
    """One contender."""

    def __init__(
        self,
        storage: LeaseStorage,
        *,
        namespace: str,
        name: str,
        identity: str,
        lease_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._storage = storage
        self._metadata = {"namespace": namespace, "name": name}
        self._identity = identity
        self._lease_s = lease_s
        self._clock = clock
        self._sleep = sleep
        self.problem = ""
        """Why it is not even known who has the Lease; empty: it is."""
        self._held: dict[str, Any] | None = None
        self._renewed_at = 0.0
        self._seen: tuple[object, ...] = ()
        self._seen_at = 0.0

    async def acquire(self) -> None:
        """Returns when the Lease is ours."""
        told = ""
        while True:
            started = self._clock()
            try:
                holder = await self._try()
                self.problem = ""
            except ApiError as error:
                holder = "unknown"
                problem = f"the Lease cannot be had: {error}"
                if problem != self.problem:
                    log.warning("%s", problem)
                self.problem = problem
            if self._held is not None:
                self._renewed_at = started
                log.info("this operator does the work", extra={"fields": {"identity": self._identity}})
                return
            if holder != told and not self.problem:
                log.info("another operator does the work, this one waits", extra={"fields": {"holder": holder}})
                told = holder
            await self._sleep(min(1.0, LOOK_EVERY * self._lease_s))

    async def keep(self) -> None:
        """Renews; raises LeaseLost once that cannot be done in time."""
        deadline_s = GIVE_UP_AFTER * self._lease_s
        while True:
            await self._sleep(RENEW_EVERY * self._lease_s)
            while True:
                started = self._clock()
                left_s = self._renewed_at + deadline_s - started
                if left_s <= 0:
                    raise LeaseLost(f"the Lease could not be renewed for {deadline_s:g} s")
                try:
                    async with asyncio.timeout(left_s):
                        await self._renew()
                except (ApiError, TimeoutError) as error:
                    log.warning("the Lease could not be renewed yet: %s", str(error) or "no answer")
                    await self._sleep(min(1.0, LOOK_EVERY * self._lease_s))
                    continue
                self._renewed_at = started
                break

    async def release(self) -> None:
        """Let another one go on at once. Never fails: the Lease runs out by itself."""
        held, self._held = self._held, None
        if held is None:
            return
        try:
            async with asyncio.timeout(RELEASE_S):
                await self._storage.replace({**held, "spec": {**held["spec"], "holderIdentity": ""}})
        except (ApiError, TimeoutError) as error:
            log.info("the Lease was not given back: %s", str(error) or "no answer")

    async def _try(self) -> str:
        """Take the Lease if it is free. Who has it otherwise."""
        lease = await self._storage.get(LEASE.api_version, LEASE.kind, **self._metadata)
        if lease is None:
            return await self._take(None)
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        seen = (holder, spec.get("renewTime"), lease["metadata"].get("resourceVersion"))
        now = self._clock()
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
        lasts_s = float(spec.get("leaseDurationSeconds") or self._lease_s)
        # A process of the same name is ourselves before a restart.
        if holder in ("", self._identity) or now - self._seen_at >= TAKE_OVER_AFTER * lasts_s:
            return await self._take(lease)
        return str(holder)

    async def _take(self, lease: Document | None) -> str:
        spec = (lease or {}).get("spec") or {}
        now = _micro_time()
        wanted = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": math.ceil(self._lease_s),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": spec.get("leaseTransitions", 0) + (1 if lease else 0),
        }
        document = {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": self._metadata}
        try:
            if lease is None:
                self._held = await self._storage.create({**document, "spec": wanted})
            else:
                self._held = await self._storage.replace({**lease, "spec": wanted})
        except ApiError as error:
            if error.code != 409:
                raise
            return "another contender"
        return self._identity

    async def _renew(self) -> None:
        assert self._held is not None, "only what is held is renewed"
        spec = {**self._held["spec"], "renewTime": _micro_time()}
        try:
            self._held = await self._storage.replace({**self._held, "spec": spec})
        except ApiError as error:
            if error.code not in (404, 409):
                raise
            await self._look_again()

    async def _look_again(self) -> None:
        """It was changed or deleted. Still ours: an answer of ours got lost, or somebody put a label on it."""
        found = await self._storage.get(LEASE.api_version, LEASE.kind, **self._metadata)
        if found is None:
            if await self._take(None) == self._identity:
                return
            raise LeaseLost("the Lease was deleted, and another operator took it")
        holder = (found.get("spec") or {}).get("holderIdentity")
        if holder != self._identity:
            raise LeaseLost(f"the Lease is held by {holder or 'nobody'} now")
        self._held = found
        await self._renew_found()

    async def _renew_found(self) -> None:
        assert self._held is not None, "just found"
        self._held = await self._storage.replace(
            {**self._held, "spec": {**self._held["spec"], "renewTime": _micro_time()}}
        )


def _micro_time() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

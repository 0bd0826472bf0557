"""Leader election: of several operators, the one that holds a Lease and renews it is the leader.

We do not use the client's `leaderelection`: it measures the age of a Lease by the wall clock, writes local time as UTC,
stops at a lost connection and never releases a Lease. This loop uses monotonic time only: the holder stops well before
another operator may take over, and a standby measures how long the Lease has not changed while it was watching it.
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
"""As fractions of the lease duration: the renewal interval, …"""
GIVE_UP_AFTER = 0.6
"""… how long the holder goes on without a successful renewal before it stops, …"""
TAKE_OVER_AFTER = 0.85
"""… and how long the Lease must stay unchanged before a standby takes it; the rest allows for polling and slow clocks."""
POLL_EVERY = 0.05
RELEASE_S = 1.0


class LeaseLost(Exception):
    """Another operator may be the leader: this process must stop."""


class LeaseStorage(Protocol):
    """Reads and writes Leases; see `cluster`."""

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> dict[str, Any] | None: ...

    async def create(self, document: Document) -> dict[str, Any]: ...

    async def replace(self, document: Document) -> dict[str, Any]: ...


class Leadership:
    """One candidate."""

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
        """Why the holder of the Lease is unknown; empty if it is known."""
        self._held: dict[str, Any] | None = None
        self._renewed_at = 0.0
        self._observed: tuple[object, ...] = ()
        self._observed_at = 0.0

    async def acquire(self) -> None:
        """Returns once this operator holds the Lease."""
        logged_holder = ""
        while True:
            started = self._clock()
            try:
                holder = await self._try()
                self.problem = ""
            except ApiError as error:
                holder = "unknown"
                problem = f"cannot acquire the Lease: {error}"
                if problem != self.problem:
                    log.warning("%s", problem)
                self.problem = problem
            if self._held is not None:
                self._renewed_at = started
                log.info("became leader", extra={"fields": {"identity": self._identity}})
                return
            if holder != logged_holder and not self.problem:
                log.info("standby: lease held by %s", holder, extra={"fields": {"holder": holder}})
                logged_holder = holder
            await self._sleep(min(1.0, POLL_EVERY * self._lease_s))

    async def keep(self) -> None:
        """Renews the Lease; raises LeaseLost when it could not be renewed in time."""
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
                    log.warning("cannot renew the Lease yet: %s", str(error) or "no answer")
                    await self._sleep(min(1.0, POLL_EVERY * self._lease_s))
                    continue
                self._renewed_at = started
                break

    async def release(self) -> None:
        """Lets a standby take over at once. Never raises: the Lease expires anyway."""
        held, self._held = self._held, None
        if held is None:
            return
        try:
            async with asyncio.timeout(RELEASE_S):
                await self._storage.replace({**held, "spec": {**held["spec"], "holderIdentity": ""}})
        except (ApiError, TimeoutError) as error:
            log.info("the Lease was not released: %s", str(error) or "no answer")

    async def _try(self) -> str:
        """Takes the Lease if it is free; returns the holder."""
        lease = await self._storage.get(LEASE.api_version, LEASE.kind, **self._metadata)
        if lease is None:
            return await self._take(None)
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        observed = (holder, spec.get("renewTime"), lease["metadata"].get("resourceVersion"))
        now = self._clock()
        if observed != self._observed:
            self._observed, self._observed_at = observed, now
        lasts_s = float(spec.get("leaseDurationSeconds") or self._lease_s)
        # The same identity: this operator before a restart.
        if holder in ("", self._identity) or now - self._observed_at >= TAKE_OVER_AFTER * lasts_s:
            return await self._take(lease)
        return str(holder)

    async def _take(self, lease: Document | None) -> str:
        spec = (lease or {}).get("spec") or {}
        now = _micro_time()
        new_spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": math.ceil(self._lease_s),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": spec.get("leaseTransitions", 0) + (1 if lease else 0),
        }
        document = {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": self._metadata}
        try:
            if lease is None:
                self._held = await self._storage.create({**document, "spec": new_spec})
            else:
                self._held = await self._storage.replace({**lease, "spec": new_spec})
        except ApiError as error:
            if error.code != 409:
                raise
            return "another contender"
        return self._identity

    async def _renew(self) -> None:
        assert self._held is not None, "the Lease is held before it is renewed"
        spec = {**self._held["spec"], "renewTime": _micro_time()}
        try:
            self._held = await self._storage.replace({**self._held, "spec": spec})
        except ApiError as error:
            if error.code not in (404, 409):
                raise
            await self._recheck()

    async def _recheck(self) -> None:
        """The Lease was changed or deleted. It is still ours if our own answer got lost, or if somebody only added a label."""
        found = await self._storage.get(LEASE.api_version, LEASE.kind, **self._metadata)
        if found is None:
            if await self._take(None) == self._identity:
                return
            raise LeaseLost("the Lease was deleted, and another operator took it")
        holder = (found.get("spec") or {}).get("holderIdentity")
        if holder != self._identity:
            raise LeaseLost(f"the Lease is now held by {holder or 'nobody'}")
        self._held = found
        await self._renew_found()

    async def _renew_found(self) -> None:
        assert self._held is not None, "just found"
        self._held = await self._storage.replace(
            {**self._held, "spec": {**self._held["spec"], "renewTime": _micro_time()}}
        )


def _micro_time() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

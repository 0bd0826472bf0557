"""The operator's process from start to shutdown: probes, CRD, Lease, controller. The composition root.

If something that the operator needs goes away, the process exits and the kubelet restarts it: after a lost Lease at once
and with code 1, after a CRD was removed or an optional kind appeared with code 0.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import uuid
from typing import NoReturn

from whisper_operator import __version__
from whisper_operator.cluster.api import KubernetesCluster
from whisper_operator.cluster.connection import Connection
from whisper_operator.cluster_protocol import ApiError
from whisper_operator.errors import StartError
from whisper_operator.kinds import ENDPOINT
from whisper_operator.leadership import Leadership, LeaseLost
from whisper_operator.logs import configure_logging, hush
from whisper_operator.metrics import Metrics
from whisper_operator.probes import Probes
from whisper_operator.reconcile.controller import Controller, RestartRequired, run_until_first_ends
from whisper_operator.settings import Settings

log = logging.getLogger(__name__)

CRD_POLL_S = 2.0
STOP_S = 3.0
SILENT_WATCH_S = 180.0
"""Bookmarks come every minute, and kopf reopens a watch that has been silent for 70 s."""


def run(settings: Settings) -> NoReturn:
    """Runs the operator and exits the process. Raises StartError."""
    configure_logging(settings.log_format, settings.log_level)
    loop = asyncio.new_event_loop()
    try:
        code = loop.run_until_complete(Manager(settings).run())
    except StartError:
        loop.close()
        raise
    # When kopf fails it leaves watches behind that nothing but the end of the process stops.
    logging.shutdown()
    os._exit(code)


class Manager:
    """One operator process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._metrics.build_info.labels(__version__).set(1)
        identity = settings.identity or f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        self._connection = Connection(settings.kubeconfig, settings.kube_context, settings.workers + 8)
        self._cluster = KubernetesCluster(self._connection, self._metrics, identity)
        self._leadership = Leadership(
            self._cluster,
            namespace=settings.operator_namespace,
            name=settings.lease_name,
            identity=identity,
            lease_s=settings.lease_seconds,
        )
        self._waits_for = "starting"
        self._controller: Controller | None = None
        self._probes = Probes(
            self._metrics,
            unhealthy=self._unhealthy,
            unready=lambda: self._waits_for or self._leadership.problem,
            interface=settings.interface,
            port=settings.port,
        )
        self._stop = asyncio.Event()

    async def run(self) -> int:
        try:
            await self._connection.load()
            self._listen_to_signals()
            port = await self._probes.start()
        except StartError:
            await self._probes.stop()
            await self._connection.close()
            raise
        log.info("started", extra={"fields": {"version": __version__, "port": port, "server": self._connection.server}})
        life = asyncio.create_task(self._live(), name="operator")
        stop = asyncio.create_task(self._stop.wait(), name="signals")
        await asyncio.wait([life, stop], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        life.cancel()
        hush()
        return await self._ended(life)

    async def _ended(self, life: asyncio.Task[int]) -> int:
        done, _ = await asyncio.wait([life], timeout=STOP_S)
        if done:
            await self._leadership.release()
        else:
            # Running tasks may still write: keep the Lease, so that no standby takes over before it expires.
            log.warning("shutdown timed out: the Lease is not released")
        await self._probes.stop()
        await self._connection.close()
        if not done or life.cancelled():
            log.info("shutdown complete")
            return 0
        return life.result()

    async def _live(self) -> int:
        await self._wait_for_crd()
        # A standby is ready: a rollout or a disruption budget must not wait until it becomes the leader.
        self._waits_for = ""
        await self._leadership.acquire()
        self._metrics.leader.set(1)
        try:
            return await self._lead()
        except RestartRequired as reason:
            log.warning("restarting: %s", reason)
            return 0
        except ApiError as error:
            log.critical("restarting: the API server answered %s", error)
            return 1
        except Exception:
            log.exception("fatal error")
            return 1

    async def _lead(self) -> int:
        """Runs the controller and renews the Lease; the end of one ends the other."""
        self._controller = Controller(self._settings, self._connection, self._cluster, self._metrics)
        await run_until_first_ends(self._keep_lease(), self._controller.run(self._listen_to_signals))
        return 1

    async def _keep_lease(self) -> None:
        try:
            await self._leadership.keep()
        except LeaseLost as reason:
            log.critical("lost the lease, exiting at once: another operator may be the leader: %s", reason)
            os._exit(1)

    async def _wait_for_crd(self) -> None:
        while True:
            try:
                if await self._cluster.serves(ENDPOINT.api_version, ENDPOINT.kind):
                    return
                problem = "the API server does not serve WhisperEndpoints: is the CRD installed?"
            except ApiError as error:
                problem = f"the API server does not answer: {error}"
            if problem != self._waits_for:
                log.warning("waiting: %s", problem)
                self._waits_for = problem
            await asyncio.sleep(CRD_POLL_S)

    def _unhealthy(self) -> str:
        if self._controller is not None and self._controller.watch_age_s() > SILENT_WATCH_S:
            return f"a watch has been silent for {self._controller.watch_age_s():.0f} s"
        return ""

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)

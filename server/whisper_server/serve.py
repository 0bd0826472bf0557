"""The lifecycle of the server: listen, load, serve, drain, end.

Listeners open first, so that probes get an answer while the model loads. `http.app` defines the routes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial

from whisper_runtime.memory import n_decoders
from whisper_server import __version__
from whisper_server.errors import StartError
from whisper_server.http.app import app_state, build_app, build_metrics_app, make_runner
from whisper_server.http.keys import KeyRing
from whisper_server.http.listener import Listener, max_descriptors, plan_descriptors
from whisper_server.http.protocol import HttpRunner
from whisper_server.memory.budget import MemoryBudget
from whisper_server.memory.malloc import keep_large_blocks, trim
from whisper_server.memory.pod import BudgetPlan, PodMemory, cgroup_limit_bytes
from whisper_server.metrics import Metrics
from whisper_server.process.children import children, kill
from whisper_server.process.event_loop import LagMeter, first_to_end, running
from whisper_server.process.logs import configure_logging
from whisper_server.service import Backend, Service
from whisper_server.settings import Settings

log = logging.getLogger(__name__)

Loader = Callable[[Settings, Metrics, MemoryBudget], AbstractAsyncContextManager[Backend]]
"""Starts the backend, and stops it on leaving. Raises StartError."""

BackendRunner = Callable[[asyncio.Event], Coroutine[None, None, None]]
"""Loads the backend and runs it until the event is set."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""SIGHUP: a terminal was closed. SIGQUIT: Ctrl-\\, or a container runtime's stop signal."""
KEYS_REREAD_S = 2.0
MAX_OPEN_FILES = 65_536
MAX_SCRAPERS = 32
"""Connections of METRICS_PORT."""
SETTLE_S = 0.05
"""For requests that were in transit when the listeners closed."""


@dataclass(frozen=True)
class ServerExit:
    """The end of the server."""

    exit_code: int
    loading_abandoned: bool = False
    """A thread may still be loading the model; the process must end without it."""


SWITCH_INTERVAL_S = 0.0005
"""After which a thread of Python lets another one run, instead of 0.005: with each read from a socket the event loop may lose
its turn. With 256 clients on an H200 the torch engine then gave 4,888 instead of 4,436 x real time, and p99 of /health was 9
instead of 14 ms (2026-11-29)."""


class Signals:
    """Signals that stop the server, counted: the first drains, the second ends the drain, the third cuts requests."""

    def __init__(self) -> None:
        self._events = [asyncio.Event() for _ in range(3)]

    def install(self) -> None:
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.receive)

    def uninstall(self) -> None:
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)

    def receive(self) -> None:
        """Count one more signal."""
        for event in self._events:
            if not event.is_set():
                event.set()
                return

    async def wait(self, count: int, timeout_s: float | None = None) -> bool:
        """Wait for signal number `count`; False if `timeout_s` passes first."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._events[count - 1].wait()
        return self._events[count - 1].is_set()


def run(settings: Settings, load: Loader) -> int:
    """Serve in this process until a signal comes; the exit code. Raises StartError."""
    configure_logging(settings.log_format, settings.log_level)
    keep_large_blocks()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    _allow_open_files()
    pod = PodMemory(cgroup_limit_bytes(), settings.memory_request_bytes or None)
    n_cores = len(os.sched_getaffinity(0))
    settings = replace(settings, decode_workers=n_decoders(settings.decode_workers, n_cores, pod.n_bytes))
    runner = asyncio.Runner()
    try:
        ended = runner.run(serve(settings, load, pod))
        if ended.loading_abandoned:
            # The thread that loads the model cannot be stopped, and closing the loop would wait for it.
            kill(children())
            logging.shutdown()
            os._exit(ended.exit_code)
        return ended.exit_code
    finally:
        runner.close()


def _allow_open_files() -> None:
    """Each request holds two or three descriptors; the usual limit of 1024 suffices for a few hundred requests."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, MAX_OPEN_FILES)), hard))


async def serve(
    settings: Settings,
    load: Loader,
    pod: PodMemory = PodMemory(),  # noqa: B008 - frozen
    *,
    on_listening: Callable[[int], None] | None = None,
) -> ServerExit:
    """Serve until a signal comes. Raises StartError."""
    memory = BudgetPlan(
        pod,
        asked_bytes=settings.memory_budget_bytes,
        max_upload_bytes=settings.max_upload_bytes,
        max_audio_s=settings.chosen_longest_s,
        n_workers=settings.n_decode_workers,
    )
    budget = MemoryBudget(memory.bytes_before_loading(), max_owner_bytes=settings.max_bytes_per_client)
    signals = Signals()
    signals.install()
    metrics, service = Metrics(), Service()
    metrics.watch_queue(service.queued_audio_s, service.estimated_wait_s)
    lag = LagMeter()
    metrics.watch_event_loop(lag.max_s)
    plan = plan_descriptors(max_descriptors(), settings.n_decode_workers)
    state = app_state(settings, service, metrics, max_requests=plan.n_requests, budget=budget)
    keys = KeyRing(settings.api_keys_dir)
    async with AsyncExitStack() as stack:
        stack.callback(signals.uninstall)
        await stack.enter_async_context(running(keys.keep_fresh(KEYS_REREAD_S)))
        await stack.enter_async_context(running(lag.run()))
        if settings.metrics_port:
            metrics_runner = make_runner(build_metrics_app(state), settings, max_connections=MAX_SCRAPERS)
            await _listen(metrics_runner, settings.interface, settings.metrics_port, "METRICS_PORT")
            stack.push_async_callback(metrics_runner.cleanup)
        runner = make_runner(build_app(settings, state, keys), settings, max_connections=plan.n_connections)
        port = await _listen(runner, settings.interface, settings.port, "PORT")
        stack.push_async_callback(runner.cleanup)
        if on_listening is not None:
            on_listening(port)
        run_backend = partial(
            _run_backend,
            partial(load, settings, metrics, budget),
            service,
            metrics,
            partial(memory.fit, budget.limit_to),
        )
        return await _serve_until_signal(settings, runner, signals, service, run_backend)


async def _serve_until_signal(
    settings: Settings, runner: HttpRunner, signals: Signals, service: Service, run_backend: BackendRunner
) -> ServerExit:
    released = asyncio.Event()
    backend = asyncio.create_task(run_backend(released))
    signalled = asyncio.create_task(signals.wait(1))
    try:
        await asyncio.wait({backend, signalled}, return_when=asyncio.FIRST_COMPLETED)
        if backend.done():
            # It ends before `released` is set only by failing.
            await backend
        await _drain(settings, runner, signals, service)
    finally:
        signalled.cancel()
        loading_abandoned = not backend.done() and not service.is_loaded
        released.set()
        if loading_abandoned:
            backend.cancel()
        await asyncio.gather(signalled, backend, return_exceptions=True)
    log.info("Shutdown complete")
    return ServerExit(exit_code=0, loading_abandoned=loading_abandoned)


async def _run_backend(
    load: Callable[[], AbstractAsyncContextManager[Backend]],
    service: Service,
    metrics: Metrics,
    fit_budget: Callable[[], None],
    released: asyncio.Event,
) -> None:
    """Load, serve until released, and stop, all in one task: contexts are left by the task that entered them."""
    async with load() as backend:
        trim()  # what a conversion leaves in the heap would count as held: 117 MiB with Whisper base
        fit_budget()
        facts = backend.engine.facts
        metrics.build_info.labels(__version__, facts.engine, facts.model_id, facts.device, facts.dtype).set(1)
        service.load(backend)
        log.info("Ready: %s on %s (%s, %s)", facts.model_id, facts.engine, facts.device, facts.dtype)
        await released.wait()


async def _drain(settings: Settings, runner: HttpRunner, signals: Signals, service: Service) -> None:
    """Serve new requests for DRAIN_SECONDS, until they go to other pods; then finish the requests in flight."""
    service.draining = True
    server = runner.http_server
    if service.is_loaded:
        log.info(
            "Draining for %g s: new requests are still served; a second signal ends the drain", settings.drain_seconds
        )
        await signals.wait(2, settings.drain_seconds)
    for site in runner.sites:
        await site.stop()
    await asyncio.sleep(SETTLE_S)
    server.close_idle()
    service.closing.set()
    log.info(
        "Listeners closed: %d requests in flight have up to %g s", len(server.in_flight), settings.shutdown_seconds
    )
    await first_to_end(server.in_flight.finished(settings.shutdown_seconds), signals.wait(3))
    if len(server.in_flight):
        log.warning("%d requests in flight did not end in time and are cut off", len(server.in_flight))


async def _listen(runner: HttpRunner, interface: str, port: int, variable: str) -> int:
    await runner.setup()
    site = Listener(runner, interface, port)
    try:
        await site.start()
    except (OSError, UnicodeError) as problem:  # UnicodeError: not a valid host name
        await runner.cleanup()
        reason = getattr(problem, "strerror", None) or problem
        raise StartError(f"{variable}={port} on INTERFACE={interface} cannot be listened on: {reason}") from problem
    log.info("Listening on %s:%d", interface, site.port)
    return site.port

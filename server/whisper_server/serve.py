"""The life of the server: listen, load, serve, drain, end.

Listeners open first, so that probes have an answer while the model loads. What is served is decided in `app`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from whisper_server import __version__
from whisper_server.background import running
from whisper_server.children import children, kill
from whisper_server.errors import StartError
from whisper_server.http.app import app_state, build_app, build_metrics_app, make_runner
from whisper_server.http.keys import KeyRing
from whisper_server.http.protocol import HttpRunner
from whisper_server.logs import configure_logging
from whisper_server.malloc import limit_arenas
from whisper_server.metrics import Metrics
from whisper_server.service import Backend, Service
from whisper_server.settings import Settings

log = logging.getLogger(__name__)

Loader = Callable[[Settings, Metrics], AbstractAsyncContextManager[Backend]]
"""Starts all that transcribes, and stops it on leaving. Raises StartError."""

Holder = Callable[[asyncio.Event], Coroutine[None, None, None]]
"""Loads the backend and keeps it until the event is set."""

KEYS_REREAD_S = 2.0
MAX_OPEN_FILES = 65_536
SETTLE_S = 0.05
"""For requests that were on their way when the listeners closed."""


@dataclass(frozen=True)
class Outcome:
    """How it ended."""

    exit_code: int
    loading_abandoned: bool = False
    """A thread may still be loading the model; nobody should wait for it."""


class Signals:
    """SIGTERM and SIGINT, counted: the first drains, the second cuts the drain, the third cuts what runs."""

    def __init__(self) -> None:
        self._events = [asyncio.Event() for _ in range(3)]

    def install(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.receive)

    def uninstall(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    def receive(self) -> None:
        """One more."""
        for event in self._events:
            if not event.is_set():
                event.set()
                return

    async def wait(self, count: int, timeout_s: float | None = None) -> bool:
        """Wait until so many have come; False where they did not in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._events[count - 1].wait()
        return self._events[count - 1].is_set()


def run(settings: Settings, load: Loader) -> int:
    """Serve in a process of one's own; the exit code. Raises StartError."""
    configure_logging(settings.log_format, settings.log_level)
    limit_arenas()
    _allow_open_files()
    runner = asyncio.Runner()
    try:
        outcome = runner.run(serve(settings, load))
        if outcome.loading_abandoned:
            # The thread that loads the model cannot be told to stop, and closing the loop would wait for it.
            kill(children())
            logging.shutdown()
            os._exit(outcome.exit_code)
        return outcome.exit_code
    finally:
        runner.close()


def _allow_open_files() -> None:
    """Each request holds two or three descriptors; the usual 1024 would do for a few hundred."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, MAX_OPEN_FILES)), hard))


async def serve(settings: Settings, load: Loader, *, on_listening: Callable[[int], None] | None = None) -> Outcome:
    """Serve until a signal comes. Raises StartError."""
    signals = Signals()
    signals.install()
    metrics, service = Metrics(), Service()
    metrics.watch_queue(service.queued_audio_s, service.estimated_wait_s)
    state = app_state(settings, service, metrics)
    keys = KeyRing(settings.api_keys_dir)
    async with AsyncExitStack() as stack:
        stack.callback(signals.uninstall)
        await stack.enter_async_context(running(keys.keep_fresh(KEYS_REREAD_S)))
        if settings.metrics_port:
            metrics_runner = make_runner(build_metrics_app(state), settings)
            await _listen(metrics_runner, settings.interface, settings.metrics_port, "METRICS_PORT")
            stack.push_async_callback(metrics_runner.cleanup)
        runner = make_runner(build_app(settings, state, keys), settings)
        port = await _listen(runner, settings.interface, settings.port, "PORT")
        stack.push_async_callback(runner.cleanup)
        if on_listening is not None:
            on_listening(port)
        hold = partial(_hold_backend, settings, load, service, metrics)
        return await _serve_until_signal(settings, runner, signals, service, hold)


async def _serve_until_signal(
    settings: Settings, runner: HttpRunner, signals: Signals, service: Service, hold: Holder
) -> Outcome:
    released = asyncio.Event()
    backend = asyncio.create_task(hold(released))
    signalled = asyncio.create_task(signals.wait(1))
    try:
        await asyncio.wait({backend, signalled}, return_when=asyncio.FIRST_COMPLETED)
        if backend.done():
            # It ends by itself only by failing.
            await backend
        await _drain(settings, runner, signals, service)
    finally:
        signalled.cancel()
        loading_abandoned = not backend.done() and not service.is_loaded
        released.set()
        if loading_abandoned:
            backend.cancel()
        await asyncio.gather(signalled, backend, return_exceptions=True)
    log.info("Ended")
    return Outcome(exit_code=0, loading_abandoned=loading_abandoned)


async def _hold_backend(
    settings: Settings, load: Loader, service: Service, metrics: Metrics, released: asyncio.Event
) -> None:
    """Load, serve until released, and stop, all in one task: what it entered, it leaves."""
    async with load(settings, metrics) as backend:
        facts = backend.engine.facts
        metrics.build_info.labels(__version__, facts.engine, facts.model_id, facts.device, facts.dtype).set(1)
        service.load(backend)
        log.info("Ready: %s on %s (%s, %s)", facts.model_id, facts.engine, facts.device, facts.dtype)
        await released.wait()


async def _drain(settings: Settings, runner: HttpRunner, signals: Signals, service: Service) -> None:
    """Serve everybody until the word is out that this server goes; then only those who are here already."""
    service.draining = True
    server = runner.http_server
    if service.is_loaded:
        log.info("Going down: everything is served for %g s more", settings.drain_seconds)
        await signals.wait(2, settings.drain_seconds)
    for site in runner.sites:
        await site.stop()
    await asyncio.sleep(SETTLE_S)
    server.close_idle()
    log.info("Listeners closed: %d requests get up to %g s", len(server.in_flight), settings.shutdown_seconds)
    ended = asyncio.create_task(server.in_flight.finished(settings.shutdown_seconds))
    cut = asyncio.create_task(signals.wait(3))
    await asyncio.wait({ended, cut}, return_when=asyncio.FIRST_COMPLETED)
    if len(server.in_flight):
        log.warning("%d requests did not end in time and are cut off", len(server.in_flight))
    for task in (ended, cut):
        task.cancel()
    await asyncio.gather(ended, cut, return_exceptions=True)


async def _listen(runner: HttpRunner, interface: str, port: int, variable: str) -> int:
    await runner.setup()
    site = web.TCPSite(runner, interface, port, backlog=1024)
    try:
        await site.start()
    except (OSError, UnicodeError) as problem:  # UnicodeError: a name that is no host's
        await runner.cleanup()
        reason = getattr(problem, "strerror", None) or problem
        raise StartError(f"{variable}={port} on INTERFACE={interface} cannot be listened on: {reason}") from problem
    log.info("Listening on %s:%d", interface, site.port)
    return site.port

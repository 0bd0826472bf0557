"""The aiohttp application: the routes, the API key check, and the headers of every answer."""

from __future__ import annotations

import time
from http import HTTPStatus

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from whisper_server import __version__
from whisper_server.api.options import Policy
from whisper_server.api.served_models import served_models
from whisper_server.http import routes
from whisper_server.http.access_log import AccessLog
from whisper_server.http.admission import RequestSlots
from whisper_server.http.connection import ConnectionTimes
from whisper_server.http.cors import cors_headers, preflight
from whisper_server.http.forms import FormLimits
from whisper_server.http.in_flight import RECORD
from whisper_server.http.keys import KeyRing
from whisper_server.http.live import route as live_routes
from whisper_server.http.live.client_secrets import CLIENT_SECRETS, ClientSecrets, client_of
from whisper_server.http.live.live_connection import SessionHost, SessionTerms
from whisper_server.http.live.session_processes import SESSION_PROCESSES, SessionProcesses
from whisper_server.http.loop_throttle import LoopThrottle
from whisper_server.http.openapi import DocumentFacts, docs_routes
from whisper_server.http.page import PageFacts, page_routes
from whisper_server.http.protocol import HttpRunner, expect_later
from whisper_server.http.quotas import QuotaLimits, Quotas
from whisper_server.http.routes import APP_STATE, AppState
from whisper_server.live.session_options import SessionRules
from whisper_server.live.sessions import LiveSessions
from whisper_server.memory.budget import SERVER, MemoryBudget
from whisper_server.metrics import Metrics
from whisper_server.service import Service
from whisper_server.settings import Settings

STEPS_PER_ITERATION = 2
"""Steps of one kind; each takes a quarter to half a millisecond. A probe waits for two iterations."""
REQUEST_BYTES = 262_144
"""Buffers and objects of a request besides what the memory budget counts."""
MIN_REQUESTS = 64
"""At a time, however small the memory budget is."""
PROBES = {"/health": routes.health, "/ready": routes.ready}


def app_state(
    settings: Settings,
    service: Service,
    metrics: Metrics,
    *,
    max_requests: int,
    budget: MemoryBudget,
    heartbeat_s: float = 15.0,
) -> AppState:
    """The handlers' state, from the settings; `max_requests` are those at a time that there are descriptors for."""
    live_sessions = LiveSessions(settings.max_realtime_sessions)
    metrics.watch_realtime(
        lambda: live_sessions.n_open, lambda: live_sessions.limit(service.live_window_s()) if service.is_loaded else 0
    )
    models = served_models(
        settings.served_model_names, settings.model_id, created=int(time.time()), diarizes=settings.diarization
    )
    return AppState(
        service=service,
        models=models,
        budget=budget,
        slots=RequestSlots(min(max_requests, max(MIN_REQUESTS, budget.limit_bytes // REQUEST_BYTES))),
        limits=FormLimits(settings.max_upload_bytes, settings.upload_timeout_seconds),
        policy=Policy(settings.language_force, settings.timestamps, settings.subtitles),
        max_queue_s=settings.max_queue_seconds,
        quotas=Quotas(
            QuotaLimits(settings.max_requests_per_client, settings.max_audio_seconds_per_minute), time.monotonic
        ),
        proxies=settings.trusted_proxies,
        metrics=metrics,
        heartbeat_s=heartbeat_s,
        upload_throttle=LoopThrottle(STEPS_PER_ITERATION),
        recording_throttle=LoopThrottle(STEPS_PER_ITERATION),
        live_sessions=live_sessions,
    )


def build_app(settings: Settings, state: AppState, keys: KeyRing) -> web.Application:
    """Every route of the server; `/metrics` only if it has no port of its own."""
    prefix = settings.root_path
    app = web.Application(
        middlewares=[_record_route, preflight(settings.cors_allow_origins), _authorized(f"{prefix}/v1/", keys)]
    )
    app[APP_STATE] = state
    app[CLIENT_SECRETS] = ClientSecrets(keys)
    app[SESSION_PROCESSES] = sessions = _session_processes(settings, state)
    state.metrics.watch_event_loop(sessions.max_lag_s)
    app.on_cleanup.append(lambda _: sessions.stop())
    add = app.router.add_route
    add(hdrs.METH_POST, f"{prefix}/v1/audio/transcriptions", routes.transcriptions, expect_handler=expect_later)
    add(hdrs.METH_POST, f"{prefix}/v1/audio/translations", routes.translations, expect_handler=expect_later)
    app.router.add_get(f"{prefix}/v1/realtime", live_routes.realtime, allow_head=False)
    app.router.add_post(f"{prefix}/v1/realtime/client_secrets", live_routes.client_secrets)
    app.router.add_get(f"{prefix}/v1/models", routes.list_models)
    app.router.add_get(f"{prefix}/v1/models/{{id:.+}}", routes.one_model)
    facts = DocumentFacts(
        version=__version__,
        model_names=tuple(state.models),
        root_path=prefix,
        needs_key=not keys.is_open,
        shows_metrics=not settings.metrics_port,
        max_upload_bytes=settings.max_upload_bytes,
    )
    app.router.add_routes(docs_routes(facts))
    if settings.web_page:
        app.router.add_routes(page_routes(_page_facts(settings, state, keys)))
    shown = PROBES if settings.metrics_port else PROBES | {"/metrics": routes.metrics}
    for path, handler in shown.items():
        # Kubelet and Prometheus call the pod directly, without the prefix.
        for place in {path, prefix + path}:
            app.router.add_get(place, handler)
    return app


def _session_processes(settings: Settings, state: AppState) -> SessionProcesses:
    rules = SessionRules(tuple(state.models), settings.language_force)
    terms = SessionTerms(rules, settings.realtime_idle_seconds, settings.shutdown_seconds)
    return SessionProcesses(
        SessionHost(terms, state.service.closing),
        state.budget.reservation(SERVER),
        log_format=settings.log_format,
        log_level=settings.log_level,
    )


def _page_facts(settings: Settings, state: AppState, keys: KeyRing) -> PageFacts:
    return PageFacts(
        root_path=settings.root_path,
        model_name=tuple(state.models)[-1],
        needs_key=not keys.is_open,
        max_upload_bytes=settings.max_upload_bytes,
        language_force=settings.language_force,
    )


def build_metrics_app(state: AppState) -> web.Application:
    """The application on METRICS_PORT."""
    app = web.Application(middlewares=[_record_route])
    app[APP_STATE] = state
    app.router.add_get("/metrics", routes.metrics)
    return app


def make_runner(
    app: web.Application,
    settings: Settings,
    *,
    max_connections: int,
    times: ConnectionTimes = ConnectionTimes(),  # noqa: B008 - frozen
) -> HttpRunner:
    """The application with its server, not yet listening."""
    state = app[APP_STATE]
    prefix = settings.root_path

    def add_common_headers(request: web.BaseRequest, response: web.StreamResponse) -> None:
        response.headers["x-request-id"] = request[RECORD].request_id
        response.headers[hdrs.SERVER] = "whisper-server"
        if request[RECORD].owner:
            response.headers.update(state.quotas.headers(request[RECORD].owner))
        response.headers.update(cors_headers(settings.cors_allow_origins, request.headers.get(hdrs.ORIGIN)))
        if state.service.draining and response.status != HTTPStatus.SWITCHING_PROTOCOLS:
            response.force_close()
            response.headers[hdrs.CONNECTION] = "close"

    async def add_to_prepared(request: web.Request, response: web.StreamResponse) -> None:
        # A handler prepares its stream before the protocol sees it.
        add_common_headers(request, response)

    app.on_response_prepare.append(add_to_prepared)
    observer = AccessLog(
        state.metrics,
        audio_routes=frozenset({f"{prefix}/v1/audio/transcriptions", f"{prefix}/v1/audio/translations"}),
        quiet_routes=frozenset({path for probe in (*PROBES, "/metrics") for path in (probe, prefix + probe)}),
    )
    return HttpRunner(
        app, add_common_headers=add_common_headers, observer=observer, times=times, max_connections=max_connections
    )


@web.middleware
async def _record_route(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Record the route by its pattern: a label must not grow with clients' inventions."""
    resource = request.match_info.route.resource
    if resource is not None:
        request[RECORD].route = resource.canonical
    return await handler(request)


def _authorized(below: str, keys: KeyRing) -> Middleware:
    """Require a key for all routes below that path, before any of the body is read."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        if resource is not None and resource.canonical.startswith(below):
            if resource.canonical == f"{below}realtime":
                request[RECORD].client = client_of(request, keys, request.app[CLIENT_SECRETS])
            else:
                request[RECORD].client = keys.client_of(request.headers)
        return await handler(request)

    return middleware

"""`GET /v1/realtime`: admission before the upgrade, and `POST /v1/realtime/client_secrets`.

`live_connection` has the session on its WebSocket, `session_processes` the place where it runs.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiohttp import hdrs, web

from whisper_server.api.realtime_client_events import parse_json
from whisper_server.api.realtime_session import SessionConfig
from whisper_server.api.served_models import find_model
from whisper_server.errors import BadRequest, UploadTimeout
from whisper_server.http.admission import check_budget, check_wait
from whisper_server.http.clients import owner_of
from whisper_server.http.in_flight import RECORD
from whisper_server.http.live.client_secrets import CLIENT_SECRETS, SECRET_SESSION, read_lifetime
from whisper_server.http.live.session_account import SESSION_BYTES, SessionAccount
from whisper_server.http.live.session_processes import SESSION_PROCESSES
from whisper_server.http.routes import APP_STATE
from whisper_server.live.ending import UpgradeRequired

MAX_SECRET_BYTES = 65_536
MAX_UPLOAD_S = 10.0


async def realtime(request: web.Request) -> web.StreamResponse:
    """One session, on a WebSocket."""
    state, record = request.app[APP_STATE], request[RECORD]
    record.owner = owner_of(request, record.client, state.proxies)
    if request.headers.get(hdrs.UPGRADE, "").lower() != "websocket":
        raise UpgradeRequired
    if request.query.get("intent", "transcription") != "transcription":
        raise BadRequest("intent: this server has transcription sessions only; send `transcription`.", param="intent")
    if model := request.query.get("model"):
        find_model(state.models, model)
        record.model = model
    config = request.get(SECRET_SESSION, SessionConfig())
    backend = state.service.backend()
    check_budget(state.budget, SESSION_BYTES, record.owner)
    check_wait(state.service.estimated_wait_s(record.owner), state.max_queue_s)
    with (
        state.live_sessions.admitted(backend.live.window_s()),
        state.slots.taken(record.owner),
        state.quotas.request(record.owner),
        state.budget.reservation(record.owner) as reservation,
    ):
        account = SessionAccount(record.owner, state.quotas, state.metrics, reservation)
        return await request.app[SESSION_PROCESSES].serve(request, backend.live, config, account)


async def client_secrets(request: web.Request) -> web.Response:
    """A short-lived key for a browser, bound to the key that asks for it."""
    state, record = request.app[APP_STATE], request[RECORD]
    record.owner = owner_of(request, record.client, state.proxies)
    body = await _json_of(request)
    if unknown := set(body) - {"expires_after", "session"}:
        raise BadRequest(f"Unknown parameter: '{min(unknown)[:64]}'.", param=min(unknown)[:64])
    now_s = int(time.time())
    expires_at = now_s + read_lifetime(body.get("expires_after"))
    session = body.get("session")
    config = SessionConfig() if session is None else SessionConfig().updated(session)
    request.app[SESSION_PROCESSES].rules.check(config, state.service.backend().live.facts)
    value = request.app[CLIENT_SECRETS].issue(record.client, expires_at, session)
    document = {"object": "realtime.transcription_session", **config.document()}
    return web.json_response({"value": value, "expires_at": expires_at, "session": document})


async def _json_of(request: web.Request) -> dict[str, Any]:
    if (request.content_length or 0) > MAX_SECRET_BYTES:
        raise BadRequest(f"The body is larger than {MAX_SECRET_BYTES} bytes.", param="session")
    try:
        async with asyncio.timeout(MAX_UPLOAD_S):
            content = await request.content.read(MAX_SECRET_BYTES + 1)
            while len(content) <= MAX_SECRET_BYTES and (piece := await request.content.read(MAX_SECRET_BYTES)):
                content += piece
    except TimeoutError:
        raise UploadTimeout(f"The body did not arrive within {MAX_UPLOAD_S:g} s.") from None
    if len(content) > MAX_SECRET_BYTES:
        raise BadRequest(f"The body is larger than {MAX_SECRET_BYTES} bytes.", param="session")
    try:
        body = parse_json(content or b"{}")
    except ValueError as problem:
        raise BadRequest(f"The body is not valid JSON: {problem}.", code="invalid_json") from None
    if not isinstance(body, dict):
        raise BadRequest('The body is a JSON object such as {"session": {"type": "transcription"}}.')
    return body

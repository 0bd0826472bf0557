"""An HTTP server that answers like a failing API server: the test writes each answer.

What a real one answers on its good days is tested in tests/cluster.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Answer:
    """A response. `silent`: no answer is ever sent."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    silent: bool = False


class ApiServerDouble:
    """Answers, and records the requests."""

    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        self.asked: list[Asked] = []
        self.url = ""
        self._answer = answer

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[ApiServerDouble]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        async with TestServer(app) as server:
            self.url = str(server.make_url("")).rstrip("/")
            yield self

    def kubeconfig(self, path: Path, user: Mapping[str, Any] | None = None) -> Path:
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": self.url}}],
            "users": [{"name": "u", "user": dict(user or {})}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        path.write_text(json.dumps(document))
        return path

    async def _serve(self, request: web.Request) -> web.Response:
        text = await request.text()
        body = json.loads(text) if text else None
        asked = Asked(request.method, request.path, dict(request.query), dict(request.headers), body)
        self.asked.append(asked)
        answer = self._answer(asked)
        if answer.silent:
            await asyncio.Event().wait()
        if isinstance(answer.body, str):
            return web.Response(status=answer.status, text=answer.body, headers=answer.headers)
        return web.json_response(answer.body, status=answer.status, headers=answer.headers)

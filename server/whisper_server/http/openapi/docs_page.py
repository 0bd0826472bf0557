"""The routes of the API's description: `/openapi.json`, and `/docs` with Swagger UI from files of this package.

The page works without the internet, and under any prefix: its links are relative to `/docs`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from aiohttp import web

from whisper_server.http.bodies import PiecewiseBody
from whisper_server.http.openapi.document import openapi_document
from whisper_server.http.openapi.schemas import DocumentFacts

ASSETS_DIR = Path(__file__).parent / "swagger_ui"

DOCS_ASSETS: Mapping[str, str] = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-init.js": "text/javascript",
}
"""The files under `/docs/`, with their content types."""

DOCS_HEADERS: Mapping[str, str] = {
    # Swagger UI styles elements inline and draws its icons from data: URLs; everything else is from this server.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}

DOCS_HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Whisper server: API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript; the document itself is <a href="openapi.json">openapi.json</a>.</noscript>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/swagger-init.js"></script>
</body>
</html>
"""


def docs_asset(name: str) -> bytes | None:
    """A file of the page; None for an unknown name, which is never joined to a path."""
    if name not in DOCS_ASSETS:
        return None
    return (ASSETS_DIR / name).read_bytes()


def docs_routes(facts: DocumentFacts) -> list[web.RouteDef]:
    """The document, the page and its files. They need no key: they reveal only the names of the models."""
    document = json.dumps(openapi_document(facts)).encode()
    assets = {name: docs_asset(name) for name in DOCS_ASSETS}

    async def openapi(_request: web.Request) -> web.Response:
        return web.Response(body=PiecewiseBody(document, "application/json; charset=utf-8"))

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text=DOCS_HTML, content_type="text/html", headers=DOCS_HEADERS)

    async def page_with_slash(_request: web.Request) -> web.Response:
        # The page's links are relative to its address without the slash.
        raise web.HTTPPermanentRedirect(f"{facts.root_path}/docs")

    async def asset(request: web.Request) -> web.Response:
        content = assets.get(request.match_info["name"])
        if content is None:
            raise web.HTTPNotFound
        headers = {**DOCS_HEADERS, "Cache-Control": "public, max-age=3600"}
        return web.Response(body=PiecewiseBody(content, DOCS_ASSETS[request.match_info["name"]]), headers=headers)

    return [
        web.get(f"{facts.root_path}/openapi.json", openapi),
        web.get(f"{facts.root_path}/docs", page),
        web.get(f"{facts.root_path}/docs/", page_with_slash),
        web.get(f"{facts.root_path}/docs/{{name}}", asset),
    ]

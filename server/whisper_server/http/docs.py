"""The routes of the API's description: the document, the page that shows it, and the page's files."""

from __future__ import annotations

from aiohttp import web

from whisper_server.http.openapi import (
    DOCS_ASSETS,
    DOCS_HEADERS,
    DOCS_HTML,
    DocumentFacts,
    docs_asset,
    openapi_document,
)


def docs_routes(facts: DocumentFacts) -> list[web.RouteDef]:
    """Open to everyone, as they tell nothing of this server but the names of its models."""
    document = openapi_document(facts)
    assets = {name: docs_asset(name) for name in DOCS_ASSETS}

    async def openapi(_request: web.Request) -> web.Response:
        return web.json_response(document)

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text=DOCS_HTML, content_type="text/html", headers=DOCS_HEADERS)

    async def page_with_slash(_request: web.Request) -> web.Response:
        # The page's addresses are relative to its own without the slash.
        raise web.HTTPPermanentRedirect(f"{facts.root_path}/docs")

    async def asset(request: web.Request) -> web.Response:
        content = assets.get(request.match_info["name"])
        if content is None:
            raise web.HTTPNotFound
        headers = {**DOCS_HEADERS, "Cache-Control": "public, max-age=3600"}
        return web.Response(body=content, content_type=DOCS_ASSETS[request.match_info["name"]], headers=headers)

    return [
        web.get(f"{facts.root_path}/openapi.json", openapi),
        web.get(f"{facts.root_path}/docs", page),
        web.get(f"{facts.root_path}/docs/", page_with_slash),
        web.get(f"{facts.root_path}/docs/{{name}}", asset),
    ]

"""The routes of the page at `/`, on which people try the server out in a browser, and its files under `/page/`.

The page works without the internet, and under any prefix: its links are relative to its own address. What it does is in
its modules under `assets/`; here is how they are served.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ETag, hdrs, web
from aiohttp.typedefs import Handler

from whisper_runtime.languages import NAME_OF_CODE
from whisper_server.http.bodies import PiecewiseBody

ASSETS_DIR = Path(__file__).parent / "assets"
CONTENT_TYPES: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
START = "index.html"

PAGE_HEADERS: Mapping[str, str] = {
    # 'self' includes the WebSocket of this host (CSP level 3). The page plays recordings from blob: addresses only.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "media-src blob:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Modules of two versions do not fit each other: browsers ask each time, and get a 304.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class PageFacts:
    """What the page knows of its server."""

    root_path: str
    model_name: str
    needs_key: bool
    max_upload_bytes: int
    language_force: str = ""
    """Code of the language of all recordings; empty: the page offers all."""


def page_files(facts: PageFacts) -> dict[str, bytes]:
    """Every file of the page by name; `index.html` has the facts in it."""
    files = {path.name: path.read_bytes() for path in sorted(ASSETS_DIR.iterdir()) if path.suffix in CONTENT_TYPES}
    values = {
        "model_name": html.escape(facts.model_name),
        "needs_key": "true" if facts.needs_key else "false",
        "max_upload_bytes": str(facts.max_upload_bytes),
        "languages": language_options(facts.language_force),
    }
    text = files[START].decode()
    for name, value in values.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    return files | {START: text.encode()}


def language_options(forced: str) -> str:
    """The `<option>`s of the languages by name, after the one that lets the server find out."""
    codes = [forced] if forced else sorted(NAME_OF_CODE, key=NAME_OF_CODE.__getitem__)
    found = "" if forced else '<option value="">find out</option>'
    return found + "".join(f'<option value="{code}">{NAME_OF_CODE[code].title()}</option>' for code in codes)


def page_routes(facts: PageFacts) -> list[web.RouteDef]:
    """The page and its files. They need no key, as they hold nothing but the model's name; what they call needs one."""
    prefix = facts.root_path
    files = page_files(facts)
    start = _file_handler(START, files.pop(START))
    handlers = {name: _file_handler(name, content) for name, content in files.items()}

    async def file(request: web.Request) -> web.StreamResponse:
        handler = handlers.get(request.match_info["name"])
        if handler is None:
            raise web.HTTPNotFound
        return await handler(request)

    async def page_without_slash(_request: web.Request) -> web.Response:
        # The page's links are relative to its address with the slash.
        raise web.HTTPPermanentRedirect(f"{prefix}/")

    routes = [web.get(f"{prefix}/", start), web.get(f"{prefix}/page/{{name}}", file)]
    return [*routes, web.get(prefix, page_without_slash)] if prefix else routes


def _file_handler(name: str, content: bytes) -> Handler:
    etag = hashlib.sha256(content).hexdigest()[:32]
    content_type = CONTENT_TYPES[Path(name).suffix]

    async def handler(request: web.Request) -> web.StreamResponse:
        headers = {**PAGE_HEADERS, hdrs.ETAG: f'"{etag}"'}
        if ETag(etag) in (request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(body=PiecewiseBody(content, content_type), headers=headers)

    return handler

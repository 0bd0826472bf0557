"""The page /docs: names no other host, and a real browser shows every route with what lies in the package."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from whisper_server.http.openapi import DocumentFacts, openapi_document
from whisper_server.http.openapi.docs_page import ASSETS_DIR, DOCS_ASSETS, DOCS_HEADERS, DOCS_HTML, docs_asset

PREFIX = "/speech/v2"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def test_page_and_our_script_name_no_host() -> None:
    init = docs_asset("swagger-init.js") or b""
    assert not re.search(r"(https?:)?//[a-z]", DOCS_HTML + init.decode().replace("// ", ""))


def test_the_style_sheet_loads_nothing() -> None:
    style = (docs_asset("swagger-ui.css") or b"").decode()
    assert "@import" not in style
    assert all(url.startswith("data:") for url in re.findall(r"url\([\"']?([^)]*)", style))


def test_page_loads_only_existing_files() -> None:
    wanted = set(re.findall(r'(?:src|href)="docs/([^"]+)"', DOCS_HTML))
    assert wanted == set(DOCS_ASSETS)
    assert all(docs_asset(name) for name in wanted)


@pytest.mark.parametrize("name", ["", ".", "../document.py", "LICENSE", "/etc/passwd", "swagger-ui.css/"])
def test_other_files_are_not_served(name: str) -> None:
    assert docs_asset(name) is None


def test_the_licence_is_kept_with_the_files() -> None:
    folder = ASSETS_DIR
    assert "Apache License" in (folder / "LICENSE").read_text()
    assert (folder / "NOTICE").exists()
    assert (folder / "swagger-ui-bundle.js.LICENSE.txt").exists()


@pytest.fixture
async def address() -> AsyncIterator[str]:
    async def page(_request: web.Request) -> web.Response:
        return web.Response(text=DOCS_HTML, content_type="text/html", headers=DOCS_HEADERS)

    async def asset(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return web.Response(body=docs_asset(name), content_type=DOCS_ASSETS[name])

    async def document(_request: web.Request) -> web.Response:
        facts = DocumentFacts(version="1", model_names=("whisper", "whisper-1"), root_path=PREFIX, needs_key=True)
        return web.json_response(openapi_document(facts))

    app = web.Application()
    app.router.add_get(f"{PREFIX}/docs", page)
    app.router.add_get(f"{PREFIX}/docs/{{name}}", asset)
    app.router.add_get(f"{PREFIX}/openapi.json", document)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}{PREFIX}/docs"
    await runner.cleanup()


async def browse(address: str, folder: Path) -> tuple[str, str]:
    """The page as a browser without other hosts shows it, and its console output."""
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        *["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"],
        *["--disable-background-networking", "--disable-component-update", "--virtual-time-budget=20000"],
        *["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--enable-logging=stderr"],
        *[f"--user-data-dir={folder / 'profile'}", "--dump-dom", address],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    dom, console = await asyncio.wait_for(process.communicate(), 90)
    return dom.decode(), console.decode(errors="replace")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
async def test_browser_shows_every_route_without_other_hosts(address: str, tmp_path: Path) -> None:
    dom, console = await browse(address, tmp_path)
    shown = {path.replace("\u200b", "") for path in re.findall(r'data-path="([^"]+)"', dom)}
    assert shown == set(openapi_document(DocumentFacts(version="1", model_names=("whisper",)))["paths"])
    assert "errors-wrapper" not in dom
    # A call to another host would break the policy of DOCS_HEADERS, which browsers complain of.
    assert "Content Security Policy" not in console, console

"""A browser that reaches this machine only, and everything that a page in it asks for and complains of."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Locator, Page, async_playwright

from suite_kit.slow import SLOW

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WAIT_MS = 30_000 * SLOW


@dataclass
class Visit:
    """A page with its log."""

    page: Page
    requests: list[str] = field(default_factory=list)
    """Addresses, WebSockets' too."""
    complaints: list[str] = field(default_factory=list)
    """Exceptions of the page, and what the browser blocks."""

    def at(self, selector: str, *, has_text: str | None = None) -> Locator:
        return self.page.locator(selector, has_text=has_text)

    def elsewhere(self, url: str) -> set[str]:
        """What it asked for other than below this address and in its own memory (`blob:`)."""
        origin = "/".join(url.split("/")[:3])
        below = (url, url.replace("http", "ws", 1), f"blob:{origin}")
        return {one for one in self.requests if not one.startswith(below)}


@asynccontextmanager
async def browser(microphone: Path) -> AsyncIterator[Browser]:
    """Chromium; its microphone plays the wav file once for each page that opens it."""
    arguments = [
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}%noloop",
    ]
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        await chromium.close()


@asynccontextmanager
async def visit(chromium: Browser, url: str, **options: Any) -> AsyncIterator[Visit]:
    """A fresh profile's first page, at the server's page. `options` are those of Playwright's contexts."""
    context = await chromium.new_context(permissions=["microphone", "clipboard-read"], **options)
    context.set_default_timeout(WAIT_MS)
    page = await context.new_page()
    visited = Visit(page)
    page.on("request", lambda request: visited.requests.append(request.url))
    page.on("websocket", lambda socket: visited.requests.append(socket.url))
    page.on("pageerror", lambda error: visited.complaints.append(str(error)))
    page.on("console", lambda message: visited.complaints.append(message.text) if "Policy" in message.text else None)
    await page.goto(f"{url}/")
    yield visited
    await context.close()

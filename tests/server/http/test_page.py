"""The routes of the page at `/`: what they serve, under which headers, and that they can be turned off."""

from __future__ import annotations

import re
from pathlib import Path

import aiohttp
import pytest

from http_kit.running import running
from whisper_server.http.page import PageFacts
from whisper_server.http.page.page_routes import ASSETS_DIR, CONTENT_TYPES, page_files

FACTS = PageFacts(root_path="", model_name='a"<b', needs_key=True, max_upload_bytes=1024)
FILES = sorted(path for path in ASSETS_DIR.iterdir())


async def test_page_and_every_file_of_it_are_served_without_a_key(tmp_path: Path) -> None:
    (tmp_path / "ada").write_text("key-of-ada")
    async with running(API_KEYS_DIR=str(tmp_path)) as server, aiohttp.ClientSession(server.url) as session:
        start = await session.get("/")
        text = await start.text()
        names = {path.name for path in FILES} - {"index.html"}
        answers = {name: await session.get(f"/page/{name}") for name in names}
        kept = await session.get("/", headers={"If-None-Match": start.headers["ETag"]})
        missing = await session.get("/page/index.html")
        outside = await session.get("/page/..%2fpage_routes.py")

    assert 'data-needs-key="true"' in text
    assert "{{" not in text
    assert {answer.status for answer in answers.values()} == {200}
    assert all(
        answer.content_type == CONTENT_TYPES[Path(name).suffix].split(";")[0] for name, answer in answers.items()
    )
    for answer in (start, *answers.values()):
        assert "script-src 'self'; style-src 'self';" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert (kept.status, missing.status, outside.status) == (304, 404, 404)


async def test_page_can_be_turned_off() -> None:
    async with running(WEB_PAGE="0") as server, aiohttp.ClientSession(server.url) as session:
        answers = [await session.get(path) for path in ("/", "/page/main.js")]
        body = await answers[0].json()

    assert [answer.status for answer in answers] == [404, 404]
    assert body["error"]["type"] == "invalid_request_error"


async def test_page_is_below_the_prefix() -> None:
    async with running(ROOT_PATH="/speech/en") as server, aiohttp.ClientSession(server.url) as session:
        paths = ("/speech/en/", "/speech/en/page/main.js", "/", "/page/main.js")
        status = [(await session.get(path)).status for path in paths]
        bare = await session.get("/speech/en", allow_redirects=False)

    assert status == [200, 200, 404, 404]
    assert (bare.status, bare.headers["Location"]) == (308, "/speech/en/")


def test_page_has_the_facts_of_its_server() -> None:
    text = page_files(FACTS)["index.html"].decode()
    assert 'data-model="a&quot;&lt;b"' in text
    assert 'data-max-upload-bytes="1024"' in text
    assert '<option value="de">German</option>' in text


def test_forced_language_is_the_only_one() -> None:
    text = page_files(PageFacts(**{**FACTS.__dict__, "language_force": "fa"}))["index.html"].decode()
    assert re.findall(r'<option value="(\w*)">', text) == ["fa"]


def test_page_loads_only_files_that_are_there() -> None:
    page = (ASSETS_DIR / "index.html").read_text()
    scripts = " ".join(path.read_text() for path in FILES if path.suffix == ".js")
    wanted = set(re.findall(r'(?:src|href)="page/([^"]+)"', page)) | set(re.findall(r'"(?:\./)?(\w+\.js)"', scripts))
    assert wanted | {"index.html"} == {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.name))
def test_files_name_no_host_have_nothing_inline_and_stay_small(path: Path) -> None:
    text = path.read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"(https?|wss?)://[a-z]", text)
    assert not re.search(r"<style|\sstyle=|\son\w+=\"|<script(?! type=\"module\" src=)", text)
    assert "innerHTML" not in text
    assert len(text.splitlines()) <= 250

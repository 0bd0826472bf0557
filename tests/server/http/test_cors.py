"""Which web pages may read answers, at the socket."""

from __future__ import annotations

import aiohttp
import pytest

from http_kit.running import running

PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


@pytest.mark.parametrize(
    ("allowed", "origin", "answered"),
    [
        ("", "https://a.example", None),
        ("*", "https://a.example", "*"),
        ("https://a.example,https://b.example", "https://b.example", "https://b.example"),
        ("https://a.example", "https://b.example", None),
        ("https://a.example", "https://a.example.evil", None),
    ],
)
async def test_origins(allowed: str, origin: str, answered: str | None) -> None:
    async with running(CORS_ALLOW_ORIGINS=allowed) as server, aiohttp.ClientSession(server.url) as session:
        plain = await session.get("/v1/models", headers={"Origin": origin})
        missing = await session.get("/nowhere", headers={"Origin": origin})
        preflight = await session.options("/v1/audio/transcriptions", headers=PREFLIGHT | {"Origin": origin})

    assert plain.headers.get("Access-Control-Allow-Origin") == answered
    assert missing.headers.get("Access-Control-Allow-Origin") == answered
    assert preflight.headers.get("Access-Control-Allow-Origin") == answered
    assert preflight.status == (405 if answered is None else 204)
    assert plain.headers.get("Vary") == (None if allowed in ("", "*") else "Origin")


async def test_preflight_of_an_unknown_address_is_404() -> None:
    async with running(CORS_ALLOW_ORIGINS="*") as server, aiohttp.ClientSession(server.url) as session:
        answer = await session.options("/v1/nowhere", headers=PREFLIGHT | {"Origin": "https://a.example"})

    assert answer.status == 404

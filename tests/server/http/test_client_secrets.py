"""Client secrets that others make up, and keys that look like them: a secret counts by its signature alone."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from http_kit.running import Running, running
from whisper_server.errors import InvalidApiKey
from whisper_server.http.keys import KeyRing
from whisper_server.http.live.client_secrets import ClientSecrets

ALICE = "alices-secret-key"
LIKE_A_SECRET = "ek_bobs-own-secret-key"
LATER = 4_000_000_000


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    (tmp_path / "alice").write_text(ALICE)
    return tmp_path


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(ring: KeyRing, client: str, payload: bytes) -> str:
    """What a client can make that knows its key, or anybody where there are no keys."""
    return f"ek_{encoded(client.encode())}.{encoded(payload)}.{encoded(ring.signature(client, payload))}"


async def opened(server: Running, bearer: str) -> tuple[int, Any]:
    """The answer to a session that never begins: 426 where the bearer is accepted."""
    headers = {"Authorization": f"Bearer {bearer}"}
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{server.url}/v1/realtime?intent=transcription", headers=headers) as answer,
    ):
        return answer.status, await answer.json()


def assert_refused(answer: tuple[int, Any]) -> None:
    status, body = answer
    assert (status, body["error"]["code"]) == (401, "invalid_api_key"), body
    assert body["error"]["type"] == "invalid_request_error"


FORGED = [
    "ek_NQ.AAAA",
    f"ek_{encoded(b'[' * 5000)}.AAAA",
    *(
        f"ek_{name}.{encoded(payload)}.AAAA"
        for payload in (b"5", b"[" * 5000, b"[]", b"[1,2,3]", b"\xff", b'"x"', b"null")
        for name in ("", encoded(b"alice"), encoded(b"\xff"), "A")
    ),
    "ek_",
    "ek_..",
    "ek_é.ü.ä",
]


@pytest.mark.parametrize("with_keys", [True, False])
async def test_forged_secret_is_refused(keys: Path, with_keys: bool) -> None:
    async with running(API_KEYS_DIR=str(keys) if with_keys else "") as server:
        for secret in FORGED:
            assert_refused(await opened(server, secret))


def test_payload_is_not_read_before_its_signature(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = KeyRing(keys)
    secrets = ClientSecrets(ring)
    secret = secrets.issue("alice", LATER, None)
    monkeypatch.setattr(json, "loads", lambda _: pytest.fail("the payload was read"))
    with pytest.raises(InvalidApiKey):
        secrets.read(f"{secret[:-4]}AAAA")


@pytest.mark.parametrize(
    "payload",
    [
        b"5",
        b"null",
        b"",
        b"\xff",
        b"[" * 3000,
        b"[]",
        b"[4000000000]",
        b"[4000000000,null,null]",
        b'["4000000000",null]',
        b"[NaN,null]",
        b"[1e999,null]",
        b"[null,null]",
        b"[true,null]",
        b"{}",
        b"[4000000000,5]",
        b"[4000000000,[]]",
        b'[4000000000,{"voice":1}]',
        b'[4000000000,{"audio":5}]',
        b'[4000000000,{"audio":{"input":{"noise_reduction":{"strength":NaN}}}}]',
        rb'[4000000000,{"audio":{"input":{"transcription":{"keywords":["\ud800"]}}}}]',
        b"[4000000000," + b'{"audio":' * 300 + b"1" + b"}" * 300 + b"]",
    ],
)
@pytest.mark.parametrize("with_keys", [True, False])
async def test_odd_payload_is_refused_although_it_is_signed(keys: Path, payload: bytes, with_keys: bool) -> None:
    ring = KeyRing(keys if with_keys else None)
    async with running(API_KEYS_DIR=str(keys) if with_keys else "") as server:
        assert (await opened(server, signed(ring, "alice" if with_keys else "", b"[4000000000,null]")))[0] == 426
        assert_refused(await opened(server, signed(ring, "alice" if with_keys else "", payload)))


async def test_without_keys_no_client_has_a_name() -> None:
    """It would have its own turns and quotas under each name that it makes up."""
    async with running() as server:
        assert_refused(await opened(server, signed(KeyRing(None), "alice", b"[4000000000,null]")))


async def test_secret_of_one_client_is_not_anothers(keys: Path) -> None:
    (keys / "bob").write_text("bobs-own-secret-key")
    secret = ClientSecrets(KeyRing(keys)).issue("alice", LATER, None)
    async with running(API_KEYS_DIR=str(keys)) as server:
        assert (await opened(server, secret))[0] == 426
        assert_refused(await opened(server, secret.replace(encoded(b"alice"), encoded(b"bob"))))


async def test_key_that_looks_like_a_secret_is_a_key_everywhere(keys: Path) -> None:
    (keys / "bob").write_text(LIKE_A_SECRET)
    headers = {"Authorization": f"Bearer {LIKE_A_SECRET}"}
    async with running(API_KEYS_DIR=str(keys)) as server, aiohttp.ClientSession(server.url) as http:
        assert (await http.get("/v1/models", headers=headers)).status == 200
        assert (await opened(server, LIKE_A_SECRET))[0] == 426
        assert_refused(await opened(server, f"{LIKE_A_SECRET}x"))
        made = await (await http.post("/v1/realtime/client_secrets", headers=headers, json={})).json()
        assert (await opened(server, made["value"]))[0] == 426
        assert made["expires_at"] > time.time()

"""Who sent a request: a key's name, or an address that no client can choose."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from http_kit.doubles import Doubles
from http_kit.running import form_body, post_head, read_answer, running
from whisper_runtime.environment import networks
from whisper_server.http.clients import client_address

PROXIES = networks("10.0.0.0/8, 192.0.2.7, fd00::/8")


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "address"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # no proxy: anyone can write this
        ("10.1.2.3", ["198.51.100.1"], "198.51.100.1"),
        ("10.1.2.3", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),  # what the client wrote itself comes first
        ("10.1.2.3", ["1.1.1.1", "198.51.100.1, 192.0.2.7"], "198.51.100.1"),
        ("10.1.2.3", ["198.51.100.1:5678"], "198.51.100.1"),
        ("10.1.2.3", ["unknown"], "10.1.2.3"),
        ("10.1.2.3", ["1.1.1.1, nonsense, 192.0.2.7"], "192.0.2.7"),
        ("10.1.2.3", [""], "10.1.2.3"),
        ("::ffff:10.1.2.3", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("fd00::1", ["[2001:db8:1:2:3:4:5:6]:443"], "2001:db8:1:2::/64"),
        ("2001:db8:1:2::99", [], "2001:db8:1:2::/64"),
        ("", ["198.51.100.1"], ""),
    ],
)
def test_address_is_what_trusted_proxies_saw(peer: str, forwarded_for: list[str], address: str) -> None:
    assert client_address(peer, forwarded_for, PROXIES) == address


async def owners(*headers: dict[str, str], **variables: Any) -> list[str]:
    """The owners that the decoder gets."""
    doubles, body = Doubles(), form_body()
    async with running(doubles, **variables) as server:
        for each in headers:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(post_head(Content_Length=len(body), **each) + body)
            assert (await read_answer(reader))[0] == 200
            writer.close()
    return doubles.decoder.owners


async def test_owner_is_the_forwarded_address_behind_a_trusted_proxy() -> None:
    forwarded = {"X_Forwarded_For": "203.0.113.5"}
    assert await owners(forwarded, {}, TRUSTED_PROXIES="127.0.0.0/8") == ["address 203.0.113.5", "address 127.0.0.1"]
    assert await owners(forwarded) == ["address 127.0.0.1"]


async def test_owner_is_the_key_wherever_it_comes_from(tmp_path: Path) -> None:
    (tmp_path / "ada").write_text("a-good-key-1")
    sent = {"Authorization": "Bearer a-good-key-1", "X_Forwarded_For": "203.0.113.5"}
    assert await owners(sent, API_KEYS_DIR=str(tmp_path), TRUSTED_PROXIES="127.0.0.1") == ["key ada"]

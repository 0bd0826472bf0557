"""API keys from a folder as the kubelet mounts it, at the socket and by themselves."""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from http_kit.running import FORM_TYPE, form_body, running, until
from whisper_server.errors import InvalidApiKey
from whisper_server.http.keys import KeyRing, bearer_token


class Secret:
    """A mounted Secret: names → ..data → a folder with a time stamp, swapped at one stroke."""

    def __init__(self, folder: Path, **files: str) -> None:
        self.folder = folder
        self._version = 0
        self.write(**files)

    def write(self, **files: str) -> None:
        self._version += 1
        target = self.folder / f"..2026_01_0{self._version}"
        target.mkdir()
        for name, content in files.items():
            (target / name).write_text(content)
        swap = self.folder / "..data_tmp"
        swap.symlink_to(target.name)
        old = self.folder / "..data"
        old_target = old.resolve() if old.exists() else None
        swap.replace(old)
        for name in files:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        for link in self.folder.iterdir():
            if link.is_symlink() and not link.exists():
                link.unlink()
        if old_target is not None:
            for file in old_target.iterdir():
                file.unlink()
            old_target.rmdir()


def authorization(header: str | None) -> dict[str, str]:
    return {} if header is None else {"Authorization": header}


def opens(ring: KeyRing, key: str) -> bool:
    try:
        return bool(ring.client_of(authorization(f"Bearer {key}")))
    except InvalidApiKey:
        return False


@asynccontextmanager
async def kept_fresh(ring: KeyRing) -> AsyncIterator[None]:
    """What the background task does every few seconds."""
    task = asyncio.create_task(ring.keep_fresh(0.01))
    yield
    task.cancel()


def test_clients_by_file_name(tmp_path: Path) -> None:
    Secret(tmp_path, ada="key-of-ada\n", bob="  key-of-bob  ")
    ring = KeyRing(tmp_path)

    assert ring.client_of(authorization("Bearer key-of-ada")) == "ada"
    assert ring.client_of(authorization("bearer   key-of-bob ")) == "bob"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic a2V5LW9mLWFkYQ==",
        "key-of-ada",
        "Bearer key-of-ad",
        "Bearer key-of-adaa",
        "Bearer KEY-OF-ADA",
        "Bearer \udcff",
    ],
)
def test_invalid_authorization_is_refused(header: str | None, tmp_path: Path) -> None:
    Secret(tmp_path, ada="key-of-ada")

    with pytest.raises(InvalidApiKey) as caught:
        KeyRing(tmp_path).client_of(authorization(header))
    assert "key-of-ada" not in caught.value.message


def test_hidden_files_folders_and_empty_keys_open_nothing(tmp_path: Path) -> None:
    Secret(tmp_path, ada="key-of-ada", empty=" \n")
    (tmp_path / ".hidden").write_text("hidden-key")
    (tmp_path / "folder").mkdir()
    ring = KeyRing(tmp_path)

    for key in ("hidden-key", "..data", ""):
        with pytest.raises(InvalidApiKey):
            ring.client_of(authorization(f"Bearer {key}"))


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (b"short", "weak"),
        (b"aaaaaaaaaaaaaaaa", "weak"),
        (b"\xef\xbb\xbfkey-of-eve", "byte order mark"),
        (b"key-of-ada\n", "same key as 'ada'"),
        (b"x" * 4097, "longer than 4096"),
        (b" \n", "empty"),
    ],
)
def test_bad_key_is_refused_with_the_file_name(
    key: bytes, problem: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "ada").write_bytes(b"key-of-ada")
    (tmp_path / "eve").write_bytes(key)
    ring = KeyRing(tmp_path)

    assert opens(ring, "key-of-ada")
    assert ring.client_of(authorization("Bearer key-of-ada")) == "ada"
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "'eve'" in warnings[0]
    assert problem in warnings[0]


@pytest.mark.parametrize("name", ["api-key", "x-api-key", "Api-Key"])
async def test_key_may_come_in_other_headers(name: str, tmp_path: Path) -> None:
    Secret(tmp_path, ada="key-of-ada")
    async with running(API_KEYS_DIR=str(tmp_path)) as server, aiohttp.ClientSession(server.url) as session:
        accepted = await session.get("/v1/models", headers={name: "key-of-ada", "Authorization": "Basic eDp5"})
        wrong = await session.get("/v1/models", headers={name: "key-of-eve"})
        contradicted = await session.get("/v1/models", headers={name: "key-of-ada", "Authorization": "Bearer wrong"})
    assert [answer.status for answer in (accepted, wrong, contradicted)] == [200, 401, 401]


async def test_rotation_without_a_restart(tmp_path: Path) -> None:
    secret = Secret(tmp_path, ada="old-key-1", bob="stays-the-same")
    ring = KeyRing(tmp_path)
    secret.write(ada="new-key-2", bob="stays-the-same")
    async with kept_fresh(ring):
        await until(lambda: opens(ring, "new-key-2"))

    assert (
        ring.client_of(authorization("Bearer new-key-2")),
        ring.client_of(authorization("Bearer stays-the-same")),
    ) == ("ada", "bob")
    with pytest.raises(InvalidApiKey):
        ring.client_of(authorization("Bearer old-key-1"))


@pytest.mark.parametrize("gone", ["missing", "empty"])
async def test_empty_folder_refuses_every_request(gone: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "keys"
    if gone == "empty":
        folder.mkdir()
    ring = KeyRing(folder)
    async with kept_fresh(ring):
        await asyncio.sleep(0.1)

    with pytest.raises(InvalidApiKey):
        ring.client_of(authorization("Bearer "))
    with pytest.raises(InvalidApiKey):
        ring.client_of(authorization("Bearer x"))
    said = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(said) == 1, "said once, not at every reading"
    assert "API_KEYS_DIR" in said[0].getMessage()


async def test_a_folder_that_appears_later_opens(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "keys")
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "ada").write_text("key-of-ada")
    async with kept_fresh(ring):
        await until(lambda: opens(ring, "key-of-ada"))
    assert ring.client_of(authorization("Bearer key-of-ada")) == "ada"


async def test_unreadable_folder_keeps_the_previous_keys(tmp_path: Path) -> None:
    """No descriptor is left to read it with."""
    secret = Secret(tmp_path, ada="key-of-ada")
    ring = KeyRing(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with kept_fresh(ring):
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            await asyncio.sleep(0.2)
            assert opens(ring, "key-of-ada")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        secret.write(ada="key-of-bob")
        await until(lambda: opens(ring, "key-of-bob"))
    assert not opens(ring, "key-of-ada")


def test_keys_stay_out_of_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    Secret(tmp_path, ada="s3cret-key")
    KeyRing(tmp_path)

    assert "ada" in caplog.text
    assert "s3cret" not in caplog.text


def test_bearer_token_may_have_bytes_that_are_not_text() -> None:
    assert bearer_token("Bearer \udcff\udcfe") == b"\xff\xfe"


async def test_only_v1_routes_need_a_key(tmp_path: Path) -> None:
    Secret(tmp_path, ada="key-of-ada")
    headers = {"Content-Type": FORM_TYPE}
    async with running(API_KEYS_DIR=str(tmp_path)) as server, aiohttp.ClientSession(server.url) as session:
        open_paths = ("/", "/health", "/ready", "/metrics", "/docs", "/openapi.json")
        paths = (*open_paths, "/v1/models", "/v1/models/whisper")
        status = {path: (await session.get(path)).status for path in paths}
        refused = await session.post("/v1/audio/transcriptions", data=form_body(), headers=headers)
        headers["Authorization"] = "Bearer key-of-ada"
        accepted = await session.post("/v1/audio/transcriptions", data=form_body(), headers=headers)

    assert [path for path, code in status.items() if code == 401] == ["/v1/models", "/v1/models/whisper"]
    assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert accepted.status == 200
    assert server.doubles.decoder.n_calls == 1


async def test_preflight_needs_no_key(tmp_path: Path) -> None:
    Secret(tmp_path, ada="key-of-ada")
    async with (
        running(API_KEYS_DIR=str(tmp_path), CORS_ALLOW_ORIGINS="*") as server,
        aiohttp.ClientSession(server.url) as session,
    ):
        asked = {
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,x-stainless-lang",
        }
        answer = await session.options("/v1/audio/transcriptions", headers=asked)
        refused = await session.post("/v1/audio/transcriptions", headers={"Origin": "https://app.example"})

    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization,x-stainless-lang"
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    # A page must be able to read the refusal too.
    assert (refused.status, refused.headers["Access-Control-Allow-Origin"]) == (401, "*")

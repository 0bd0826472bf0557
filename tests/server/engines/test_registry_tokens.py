"""What a registry or its token server may send, and who gets the password. A real registry with tokens is in `test_model_stores`."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from model_kit.demo import DEMO
from model_kit.file_server import TOKEN, FileServer, as_registry, serving
from whisper_server.engines.model_folder import model_folder
from whisper_server.engines.model_sources import downloads
from whisper_server.errors import StartError
from whisper_server.settings import Settings

FILES = {"config.json": (DEMO / "config.json").read_bytes(), "tokenizer.json": b"{}", "model.safetensors": b"weights"}
BASIC = f"Basic {base64.b64encode(b'reader:secret').decode()}"
NO_TOKEN = "127.0.0.1, where the registry gets its tokens, gives none (200); check that server's log"
NO_ADDRESS = "which is no https address; give the registry another realm"
ASKS = 'Bearer realm="{url}/token",service="s",scope="repository:team/whisper:pull"'


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setattr(downloads, "WAITS_S", ())
    (tmp_path / "served").mkdir()
    layers = [
        {"content": content, "annotations": {"org.opencontainers.image.title": name}} for name, content in FILES.items()
    ]
    as_registry(tmp_path / "served", "team/whisper", "v1", layers)
    with serving(tmp_path / "served") as running:
        yield running


def settings(registry: FileServer, folder: Path, **entry: str) -> Settings:
    auths = {"auths": {registry.address: entry or {"auth": BASIC.removeprefix("Basic ")}}}
    (folder / "config.json").write_text(json.dumps(auths))
    model_id = f"oci://{registry.address}/team/whisper:v1"
    return Settings(model_id=model_id, docker_config=folder, hf_home=folder / "hf")


@pytest.mark.parametrize(
    "challenge",
    [
        ASKS,
        f'{ASKS}, Basic realm="Registry"',
        f'Basic realm="Registry", {ASKS}',
        ASKS.replace('"s"', "s").replace("Bearer", "bearer"),
    ],
)
def test_token_is_asked_for_where_the_registry_says(registry: FileServer, tmp_path: Path, challenge: str) -> None:
    registry.challenge = challenge.format(url=registry.url)
    folder = model_folder(settings(registry, tmp_path))
    assert {path.name for path in folder.iterdir()} == set(FILES)
    assert [path for path, _, _ in registry.sent if path.startswith("/token")] == [
        "/token?service=s&scope=repository%3Ateam%2Fwhisper%3Apull"
    ]


@pytest.mark.parametrize(
    ("challenge", "answer", "reason"),
    [
        (ASKS, b"<html>", NO_TOKEN),
        (ASKS, b"[1]", NO_TOKEN),
        (ASKS, b"[" * 100_000, NO_TOKEN),
        (ASKS, b'{"token": {}, "access_token": "a"}', ""),
        (ASKS, '{"token": "é"}'.encode(), NO_TOKEN),
        (ASKS, b'{"token": "a\\r\\nX: b"}', NO_TOKEN),
        (ASKS, TOKEN + b" " * 2_000_000, NO_TOKEN),
        ('Bearer realm="https://host:port/token"', TOKEN, NO_ADDRESS),
        ('Bearer realm="http://registry.example/token"', TOKEN, NO_ADDRESS),
        ('Bearer realm="/token"', TOKEN, NO_ADDRESS),
        (f"Bearer {'x' * 50_000}", TOKEN, NO_ADDRESS),
    ],
    ids=range(11),
)
def test_what_is_no_token_is_refused(
    registry: FileServer, tmp_path: Path, challenge: str, answer: bytes, reason: str
) -> None:
    registry.challenge, registry.token_answer = challenge.format(url=registry.url), answer
    with pytest.raises(StartError) as refusal:
        model_folder(settings(registry, tmp_path))
    assert str(refusal.value).startswith("MODEL_ID: oci://" if reason else "DOCKER_CONFIG: oci://")
    assert reason in str(refusal.value)


AZURE = {"auth": base64.b64encode(b"00000000-0000-0000-0000-000000000000:").decode(), "identitytoken": "ey+secret="}
"""As `az acr login` writes it."""


def test_identity_token_gets_a_token(registry: FileServer, tmp_path: Path) -> None:
    registry.challenge, registry.token_answer = ASKS.format(url=registry.url), b'{"access_token": "good"}'
    folder = model_folder(settings(registry, tmp_path, **AZURE))
    assert {path.name for path in folder.iterdir()} == set(FILES)
    (form,) = registry.forms
    assert dict(parse_qsl(form)) == {
        "grant_type": "refresh_token",
        "refresh_token": "ey+secret=",
        "client_id": "whisper-server",
        "service": "s",
        "scope": "repository:team/whisper:pull",
    }
    assert set(registry.authorizations) == {"", "Bearer good"}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (
            400,
            "DOCKER_CONFIG: {model} cannot be fetched: the registry refuses the identity token, or there is none (400)",
        ),
        (
            401,
            "DOCKER_CONFIG: {model} cannot be fetched: the registry refuses the identity token, or there is none (401)",
        ),
        (404, "127.0.0.1, where the registry gets its tokens, gives none (404)"),
        (307, "127.0.0.1, where the registry gets its tokens, gives none (307)"),
    ],
)
def test_identity_token_that_gets_none(registry: FileServer, tmp_path: Path, status: int, reason: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    with serving(tmp_path / "elsewhere") as other:
        registry.challenge, registry.token_status = ASKS.format(url=registry.url), status
        registry.moved_to = other.url
        with pytest.raises(StartError) as refusal:
            model_folder(settings(registry, tmp_path, **AZURE))
        assert reason.format(model=f"oci://{registry.address}/team/whisper:v1") in str(refusal.value)
        assert "secret" not in str(refusal.value)
        assert not other.sent


LAYER: dict[str, object] = {"digest": f"sha256:{'0' * 64}", "size": 1}
NAMED: dict[str, object] = {"annotations": {"org.opencontainers.image.title": "config.json"}}


@pytest.mark.parametrize(
    "manifest",
    [
        {"layers": "all"},
        {"layers": [1]},
        {"layers": [{**NAMED, "digest": LAYER["digest"]}]},
        {"layers": [{**LAYER, **NAMED, "size": "many"}]},
        {"layers": [{**LAYER, **NAMED, "size": -1}]},
        {"manifests": 1},
        {"manifests": [{"platform": "linux"}]},
        {"manifests": [{}]},
    ],
    ids=str,
)
def test_manifest_that_is_none_is_refused(registry: FileServer, tmp_path: Path, manifest: dict[str, object]) -> None:
    (registry.folder / "v2" / "team" / "whisper" / "manifests" / "v1").write_text(json.dumps(manifest))
    with pytest.raises(StartError, match="its manifest is not as the specification has it"):
        model_folder(settings(registry, tmp_path))


def test_no_more_is_read_than_the_manifest_says(registry: FileServer, tmp_path: Path) -> None:
    layer = {"content": b"0" * 20_000_000, "size": 10, **NAMED}
    as_registry(registry.folder, "team/whisper", "v1", [layer])
    with pytest.raises(StartError, match=r"config.json has \d{2,7} bytes, not 10; look for what") as refusal:
        model_folder(settings(registry, tmp_path))
    assert "20000000" not in str(refusal.value)


def test_password_is_for_the_registry_and_not_for_where_blobs_are(registry: FileServer, tmp_path: Path) -> None:
    """Otherwise a server that gets the registry's clients could name a token server of its own."""
    (tmp_path / "elsewhere").mkdir()
    with serving(tmp_path / "elsewhere") as other:
        registry.moved_to = other.url.replace("127.0.0.1", "localhost")
        other.challenge = ASKS.format(url=other.url)
        registry.challenge = ASKS.format(url=registry.url)
        with pytest.raises(StartError, match=r"the registry refuses the password, or there is none \(401\)"):
            model_folder(settings(registry, tmp_path))
        assert set(other.authorizations) == {""}
        assert BASIC in registry.authorizations

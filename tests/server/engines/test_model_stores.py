"""Models from a real OCI registry and real S3-compatible storage: passwords, what is refused, and the demo model served."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_kit.demo import DEMO
from model_kit.stores import (
    PASSWORD,
    REGION,
    USER,
    Running,
    bucket_store,
    push,
    registry,
    registry_with_tokens,
    upload,
)
from whisper_server.engines import load
from whisper_server.engines.model_folder import model_folder
from whisper_server.errors import StartError
from whisper_server.settings import Settings

pytestmark = pytest.mark.before_release(
    because="the stores are built by Go, in some 240 CPU seconds; test_model_sources.py has the rest"
)
FILES = {path.name: path.read_bytes() for path in DEMO.iterdir() if path.is_file()}
TITLE = "org.opencontainers.image.title"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("oci") / "registry" / "data"


@pytest.fixture(scope="module")
def oci(data: Path) -> Iterator[Running]:
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar"}
    layers = [(content, {**layer, "annotations": {TITLE: name}}) for name, content in FILES.items()]
    with registry(data.parent) as running:
        for repository in ("team/demo", "public/demo"):
            push(running, repository, "v1", layers)
        yield running


@pytest.fixture(scope="module")
def with_tokens(oci: Running, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The same artifacts, for which the registry sends its clients to a token server."""
    with registry_with_tokens(tmp_path_factory.mktemp("tokens") / "registry", data) as running:
        yield running


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("s3") / "store"
    with bucket_store(folder) as running:
        (folder / "models").mkdir()
        other = {"whisper/demo/onnx/config.json": b"{}", "whisper/demo2/config.json": b"{}"}
        upload(running, "models", {f"whisper/demo/{name}": content for name, content in FILES.items()} | other)
        yield running


def docker_config(folder: Path, address: str, password: str) -> Path:
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"auths": {address: {"auth": auth}}}))
    return folder


def s3_settings(s3: Running, tmp_path: Path, **changes: Any) -> Settings:
    chosen: dict[str, Any] = {
        "model_id": "s3://models/whisper/demo",
        "aws_endpoint_url": s3.url,
        "aws_region": REGION,
        "aws_access_key_id": USER,
        "aws_secret_access_key": PASSWORD,
        "hf_home": tmp_path / "hf",
        "model_cache_dir": tmp_path / "converted",
        "cpu_threads": 1,
    }
    return Settings(**{**chosen, **changes})


def refused(settings: Settings) -> str:
    with pytest.raises(StartError) as refusal:
        model_folder(settings)
    return str(refusal.value)


async def test_a_model_of_a_registry_is_served(oci: Running, tmp_path: Path) -> None:
    config = docker_config(tmp_path / "docker", oci.address, PASSWORD)
    settings = Settings(
        model_id=f"oci://{oci.address}/team/demo:v1", docker_config=config, hf_home=tmp_path / "hf",
        model_cache_dir=tmp_path / "converted", cpu_threads=1,
    )  # fmt: skip
    engine, _ = await load(settings)
    await engine.stop()
    assert {path.name for path in model_folder(settings).iterdir()} == {name for name in FILES if name != "README.md"}


@pytest.mark.parametrize("password", ["wrong", None])
def test_a_registry_that_refuses_is_named(oci: Running, tmp_path: Path, password: str | None) -> None:
    config = docker_config(tmp_path / "docker", oci.address, password) if password else tmp_path
    model_id = f"oci://{oci.address}/team/demo:v1"
    reason = refused(Settings(model_id=model_id, docker_config=config, hf_home=tmp_path / "hf"))
    assert reason == (
        f"DOCKER_CONFIG: {model_id} cannot be fetched: the registry refuses the password, or there is none (401); "
        "put one for this registry into config.json, and check that it may pull"
    )


@pytest.mark.parametrize(
    ("repository", "password", "refusal"),
    [
        ("team/demo", PASSWORD, ""),
        ("public/demo", None, ""),
        ("team/demo", None, "the registry refuses the password, or there is none (401)"),
        ("team/demo", "wrong", "the registry refuses the password, or there is none (401)"),
        ("public/demo", "wrong", "the registry refuses the password, or there is none (401)"),
    ],
)
def test_a_registry_that_asks_for_a_token_gets_one(
    with_tokens: Running, tmp_path: Path, repository: str, password: str | None, refusal: str
) -> None:
    """As Docker Hub and GHCR do: the token comes from another server, for the password or, of what is public, for none."""
    config = docker_config(tmp_path / "docker", with_tokens.address, password) if password else tmp_path
    model_id = f"oci://{with_tokens.address}/{repository}:v1"
    settings = Settings(model_id=model_id, docker_config=config, hf_home=tmp_path / "hf")
    if refusal:
        assert f"DOCKER_CONFIG: {model_id} cannot be fetched: {refusal}" in refused(settings)
    else:
        assert {path.name for path in model_folder(settings).iterdir()} == {n for n in FILES if n != "README.md"}


def test_a_password_is_sent_to_no_server_of_tokens_without_tls(oci: Running, data: Path, tmp_path: Path) -> None:
    with registry_with_tokens(tmp_path / "registry", data, realm="http://tokens.example/token") as running:
        config = docker_config(tmp_path / "docker", running.address, PASSWORD)
        model_id = f"oci://{running.address}/team/demo:v1"
        reason = refused(Settings(model_id=model_id, docker_config=config, hf_home=tmp_path / "hf"))
    assert reason == (
        f"MODEL_ID: {model_id} cannot be fetched: the registry gets its tokens at http://tokens.example/token, which is no https address; "
        "give the registry another realm"
    )


async def test_a_model_of_a_bucket_is_served(s3: Running, tmp_path: Path) -> None:
    settings = s3_settings(s3, tmp_path)
    engine, _ = await load(settings)
    await engine.stop()
    folder = model_folder(settings)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        name: content for name, content in FILES.items() if name != "README.md"
    }


@pytest.mark.parametrize(
    ("changes", "start", "end"),
    [
        ({"aws_secret_access_key": "wrong"}, "AWS_ACCESS_KEY_ID: s3://models/whisper/demo cannot be fetched: {url} refuses the key for bucket models (SignatureDoesNotMatch); ", "check it, and that it may list and read the bucket"),
        ({"model_id": "s3://models/nothing"}, "MODEL_ID: s3://models/nothing cannot be fetched: there are no files of a model under nothing in bucket models", "write the prefix under which config.json is"),
        ({"model_id": "s3://no-such-bucket/a"}, "MODEL_ID: s3://no-such-bucket/a cannot be fetched: {url} refuses bucket no-such-bucket (NoSuchBucket); ", "check the address, AWS_ENDPOINT_URL and AWS_REGION"),
        ({"aws_endpoint_url": "http://127.0.0.1:9"}, "MODEL_ID: s3://models/whisper/demo cannot be fetched: ", "check the address, the network and the proxy"),
    ],
)  # fmt: skip
def test_a_bucket_that_refuses_is_named(
    s3: Running, tmp_path: Path, changes: dict[str, Any], start: str, end: str
) -> None:
    reason = refused(s3_settings(s3, tmp_path, **changes))
    assert reason.startswith(start.format(url=s3.url))
    assert reason.endswith(end)
    assert PASSWORD not in reason

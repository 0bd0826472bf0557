"""Models from addresses: what a plain HTTP server and a registry without passwords give, whole, checked, and only once."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from model_kit.demo import DEMO
from model_kit.file_server import FileServer, as_registry, serving
from whisper_server.engines import fetch
from whisper_server.engines.model_folder import model_folder
from whisper_server.engines.model_sources import downloads
from whisper_server.errors import StartError
from whisper_server.settings import Settings

WEIGHTS = os.urandom(3_000_000)
"""No engine reads them; they do not shrink."""
CONFIG = (DEMO / "config.json").read_bytes()
FILES = {"config.json": CONFIG, "tokenizer.json": b"{}", "model.safetensors": WEIGHTS}
TAR = "application/vnd.oci.image.layer.v1.tar"
REPOSITORY = "team/whisper"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setattr(downloads, "WAITS_S", (0.0, 0.0))
    (tmp_path / "served").mkdir()
    with serving(tmp_path / "served") as running:
        yield running


@pytest.fixture
def fetched(tmp_path: Path) -> Callable[..., Path]:
    def model(model_id: str, **more: Any) -> Path:
        return model_folder(Settings(model_id=model_id, hf_home=tmp_path / "hf", **more))

    return model


def tarred(files: dict[str, bytes], compression: str = "gz", *, more: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as archive:  # type: ignore[call-overload]
        for member in more:
            archive.addfile(member)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def below(folder: str) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in FILES.items()} | {f"{folder}/README.md": b"not read"}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.suffix != ".unpacked"}


@pytest.mark.parametrize(
    ("name", "archive"),
    [
        ("model.tar.gz", tarred(FILES)),
        ("model.tar", tarred(below("export/whisper"), "")),
        ("model.zip", zipped(below("whisper"))),
        ("latest", tarred(FILES, "xz")),
    ],
)
def test_archives_are_unpacked(
    server: FileServer, fetched: Callable[..., Path], tmp_path: Path, name: str, archive: bytes
) -> None:
    (server.folder / name).write_bytes(archive)
    digest = sha256(archive).hexdigest()
    folder = fetched(f"{server.url}/{name}", model_sha256=digest)
    assert contents(folder) == FILES
    n_sent = len(server.sent)
    assert fetched(f"{server.url}/{name}", model_sha256=digest) == folder
    assert len(server.sent) == n_sent  # the sha256 says that it is there
    assert not list((tmp_path / "hf").rglob("*.part*"))


LAYOUTS: dict[str, list[dict[str, Any]]] = {
    "ORAS, a layer a file": [
        {"mediaType": TAR, "content": content, "annotations": {"org.opencontainers.image.title": name}}
        for name, content in {**FILES, "README.md": b"not read"}.items()
    ],
    "ORAS, a folder": [
        {
            "mediaType": f"{TAR}+gzip",
            "content": tarred(below("whisper")),
            "annotations": {"org.opencontainers.image.title": "whisper", "io.deis.oras.content.unpack": "true"},
        }
    ],
    "ModelPack": [
        {
            "mediaType": "application/vnd.cncf.model.weight.v1.raw",
            "content": WEIGHTS,
            "annotations": {"org.cncf.model.filepath": "model.safetensors"},
        },
        {
            "mediaType": "application/vnd.cncf.model.weight.config.v1.tar",
            "content": tarred({name: FILES[name] for name in ("config.json", "tokenizer.json")}, ""),
            "annotations": {"org.cncf.model.filepath": "config"},
        },
    ],
    "image": [
        {"mediaType": f"{TAR}+gzip", "content": tarred({"etc/passwd": b"root", "usr/package.json": b"{}"})},
        {"mediaType": TAR, "content": tarred(below("models/whisper"), "")},
    ],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_artifacts_of_every_layout_are_fetched(server: FileServer, fetched: Callable[..., Path], layout: str) -> None:
    digest = as_registry(server.folder, REPOSITORY, "v1", LAYOUTS[layout])
    folder = fetched(f"oci://{server.address}/{REPOSITORY}:v1")
    assert contents(folder) == FILES
    assert not server.offsets(sha256(b"not read").hexdigest())
    server.sent.clear()
    assert fetched(f"oci://{server.address}/{REPOSITORY}:v1") == folder
    assert [path.rpartition("/")[2] for path, _, _ in server.sent] == ["v1"]  # only whether the tag is still this
    assert contents(fetched(f"oci://{server.address}/{REPOSITORY}@{digest}")) == FILES


def test_another_version_is_fetched_and_an_unreachable_one_is_not_needed(
    server: FileServer, fetched: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    address = f"oci://{server.address}/{REPOSITORY}:v1"
    as_registry(server.folder, REPOSITORY, "v1", LAYOUTS["image"])
    first = fetched(address)
    as_registry(server.folder, REPOSITORY, "v1", LAYOUTS["ModelPack"])
    second = fetched(address)
    assert first != second
    server.is_down = True
    assert fetched(address) == second
    assert "its copy of an earlier start is used" in caplog.text


@pytest.mark.parametrize("scheme", ["http", "oci"])
def test_a_download_that_is_cut_off_goes_on_where_it_stopped(
    server: FileServer, fetched: Callable[..., Path], scheme: str
) -> None:
    archive = tarred(FILES)
    (server.folder / "model.tar.gz").write_bytes(archive)
    as_registry(server.folder, REPOSITORY, "v1", [{"mediaType": f"{TAR}+gzip", "content": archive}])
    sha = sha256(archive).hexdigest()
    address = f"{server.url}/model.tar.gz" if scheme == "http" else f"oci://{server.address}/{REPOSITORY}:v1"
    more = {"model_sha256": sha} if scheme == "http" else {}
    sent_name = "model.tar.gz" if scheme == "http" else sha
    server.cut_after_bytes = 1_000_000
    assert contents(fetched(address, **more)) == FILES
    assert [offset for offset in server.offsets(sent_name) if offset] == [1_000_000, 2_000_000, 3_000_000]


def test_the_next_start_goes_on_too_and_nothing_half_is_served(
    server: FileServer, fetched: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "WAITS_S", ())
    archive = tarred(FILES)
    (server.folder / "model.tar.gz").write_bytes(archive)
    server.cut_after_bytes = 2_000_000
    more = {"model_sha256": sha256(archive).hexdigest()}
    with pytest.raises(StartError, match=r"^MODEL_ID: http://.* cannot be fetched: .*; check the address, the network"):
        fetched(f"{server.url}/model.tar.gz", **more)
    server.cut_after_bytes = None
    server.sent.clear()
    assert contents(fetched(f"{server.url}/model.tar.gz", **more)) == FILES
    assert server.offsets("model.tar.gz") == [0, 2_000_000]  # the first asks for the size only


def link(name: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "/etc/passwd"
    return member


def zip_with_link() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        member = zipfile.ZipInfo("config.json")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    return buffer.getvalue()


BAD_ARCHIVES = {
    "parent": (tarred({"../../config.json": b"{}"}), "'../../config.json', which leads out of its folder"),
    "absolute": (tarred({"/tmp/config.json": b"{}"}), "'/tmp/config.json', which leads out of its folder"),
    "parent in a zip": (zipped({"a/../../config.json": b"{}"}), "leads out of its folder"),
    "symlink": (tarred(FILES, more=(link("config.json"),)), "config.json in it is a link"),
    "hard link": (tarred(FILES, more=(link("model.safetensors", tarfile.LNKTYPE),)), "is a link"),
    "device": (tarred(FILES, more=(link("model.bin", tarfile.CHRTYPE),)), "is a link, not a file"),
    "symlink in a zip": (zip_with_link(), "config.json in it is a link"),
    "bomb": (tarred({"config.json": b"{}", "model.bin": bytes(30_000_000)}), "it unpacks to more than"),
    "no archive": (b"<html>Sign in</html>", "it is no archive that can be read"),
    "cut gzip": (tarred(FILES)[:2_000_000], "it is no archive that can be read"),
    "no model": (tarred({"README.md": b"nothing"}), "it holds no folder with config.json and weights"),
    "no weights": (tarred({"config.json": CONFIG}), "it holds no folder with config.json and weights"),
    "two models": (tarred(below("a") | below("b")), "it holds several models (a, b)"),
}


@pytest.mark.parametrize("kind", BAD_ARCHIVES)
def test_bad_archives_are_refused(server: FileServer, fetched: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    archive, reason = BAD_ARCHIVES[kind]
    (server.folder / "model.tar.gz").write_bytes(archive)
    with pytest.raises(StartError) as refusal:
        fetched(f"{server.url}/model.tar.gz", model_sha256=sha256(archive).hexdigest())
    message = str(refusal.value)
    assert message.startswith("MODEL_ID: http://")
    assert reason in message
    assert "; make " in message or "; give " in message
    assert "\n" not in message
    outside = [path for path in tmp_path.rglob("config.json") if "fetched" not in path.parts]
    assert not outside
    written = sum(path.stat().st_size for path in tmp_path.rglob("model.bin"))
    assert written <= 100 * len(archive)


@pytest.mark.parametrize(
    ("address", "more", "message"),
    [
        ("oci://{host}/no/such:tag", {}, "MODEL_ID: {id} cannot be fetched: the registry has no such repository, tag or digest (404); check the address"),
        ("{url}/none.tar", {"model_sha256": "0" * 64}, "MODEL_ID: {id} cannot be fetched: the server answers 404 Not Found; check the address, and that it can be read without a password"),
        ("{url}/model.tar", {}, "MODEL_SHA256: {id} cannot be fetched: plain http lets anyone on the way change the model; set it to the archive's, as sha256sum prints it, or use https"),
        ("{url}/model.tar", {"model_sha256": "0" * 64}, "MODEL_ID: {id} cannot be fetched: model.tar has the sha256 {sha}, not " + "0" * 64 + "; put the right file there, or write its own sha256"),
        ("oci://127.0.0.1:9/team/whisper:v1", {}, "MODEL_ID: {id} cannot be fetched: [Errno 111] Connection refused; check the address, the network and the proxy"),
        ("https://user:secret@host/model.tar", {}, "MODEL_ID: {id} cannot be fetched: no such address; write https://host/path, without a password and without a query: the model's id is public"),
        ("oci://registry", {}, "MODEL_ID: {id} cannot be fetched: no such address; write oci://registry/repository:tag or oci://registry/repository@sha256:…"),
        ("s3://b", {}, "MODEL_ID: {id} cannot be fetched: no such address; write s3://bucket/prefix"),
        ("gs://bucket/model", {}, "MODEL_ID: {id} cannot be fetched: no such address; write one that begins with oci://, s3:// or https://"),
    ],
)  # fmt: skip
def test_refusals_name_the_variable_and_what_to_do(
    server: FileServer, fetched: Callable[..., Path], address: str, more: dict[str, str], message: str
) -> None:
    archive = tarred(FILES, "")
    (server.folder / "model.tar").write_bytes(archive)
    model_id = address.format(host=server.address, url=server.url)
    with pytest.raises(StartError) as refusal:
        fetched(model_id, **more)
    assert str(refusal.value) == message.format(id=model_id, sha=sha256(archive).hexdigest())


def test_a_layer_that_is_not_what_its_digest_says_is_refused(server: FileServer, fetched: Callable[..., Path]) -> None:
    as_registry(server.folder, REPOSITORY, "v1", LAYOUTS["image"])
    blob = max((server.folder / "v2" / REPOSITORY / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    for _ in range(2):  # a second start does not take it for fetched
        with pytest.raises(StartError, match=r"has the sha256 [0-9a-f]{64}, not "):
            fetched(f"oci://{server.address}/{REPOSITORY}:v1")


def test_a_full_disk_is_refused_before_the_download(
    server: FileServer, fetched: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tarred(FILES)
    (server.folder / "model.tar.gz").write_bytes(archive)
    usage = shutil.disk_usage("/")._replace(free=4_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StartError) as refusal:
        fetched(f"{server.url}/model.tar.gz", model_sha256=sha256(archive).hexdigest())
    assert str(refusal.value).startswith("HF_HOME: http://")
    assert "it needs 6 MB more in" in str(refusal.value)
    assert str(refusal.value).endswith("No space left on device; make room there, or set it to another folder")
    assert len(server.sent) == 1


def test_fetch_converts_where_the_engine_needs_it(
    server: FileServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`whisper-server fetch`, as the operator's Job runs it."""
    caplog.set_level("INFO")
    demo = {path.name: path.read_bytes() for path in DEMO.iterdir() if path.is_file()}
    as_registry(server.folder, REPOSITORY, "v1", [{"mediaType": TAR, "content": tarred(demo, "")}])
    folders = {"HF_HOME": str(tmp_path / "hf"), "MODEL_CACHE_DIR": str(tmp_path / "converted")}
    variables = {"MODEL_ID": f"oci://{server.address}/{REPOSITORY}:v1", **folders}
    fetch(Settings.from_env(variables))
    assert not (tmp_path / "converted").exists()  # a GPU may read it as it is
    fetch(Settings.from_env({**variables, "ENGINE": "ctranslate2"}))
    assert [path.name for path in (tmp_path / "converted").glob("*/model.bin")] == ["model.bin"]
    figures = [record.__dict__["fields"] for record in caplog.records if "fields" in record.__dict__]
    assert figures[-1]["fetched_bytes"] == figures[-1]["total_bytes"] > 20_000_000

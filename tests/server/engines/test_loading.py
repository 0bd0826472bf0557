"""The model that MODEL_ID names, and every refused start: one line with the variable and what to set."""

from __future__ import annotations

import errno
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import ctranslate2
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils._paths import filter_repo_objects

from model_kit.demo import DEMO, checkpoint_like_demo
from suite_kit.slow import SLOW
from whisper_runtime.capability import auto_on_gpu
from whisper_runtime.choices import AttentionBackend, DType, EngineName, KvCacheDType
from whisper_server.engines import load
from whisper_server.engines.choice import asks_of_vllm, chosen_engine, gpu_capability
from whisper_server.engines.ctranslate2.convert import converted_folder
from whisper_server.engines.model_folder import model_folder
from whisper_server.engines.model_sources.model_files import FILES, OTHER_FILES
from whisper_server.engines.vllm.device import is_installed
from whisper_server.engines.vllm.loading import load_vllm
from whisper_server.errors import StartError
from whisper_server.settings import Settings

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("converted")


def settings(cache: Path, model: Path | str = "demo", **changes: Any) -> Settings:
    return Settings(model_id=str(model), model_cache_dir=cache, cpu_threads=1, **changes)


async def refused(settings: Settings) -> str:
    """The reason of a refused start, after which no thread may still run."""
    with pytest.raises(StartError) as refusal:
        engine, _ = await load(settings)
        await engine.stop()
    assert "\n" not in str(refusal.value)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("ctranslate2")]
    return str(refusal.value)


async def test_unreadable_folder_is_refused_by_name(cache: Path) -> None:
    reason = await refused(settings(cache, "a" * 300))
    assert reason.startswith(f"MODEL_ID: {'a' * 300} cannot be read: File name too long; set it to a folder that user")


@pytest.mark.parametrize(
    ("capability", "changes", "engine"),
    [
        ((9, 0), {}, EngineName.TORCH),
        ((9, 0), {"vllm_kv_cache_dtype": KvCacheDType.FP8}, EngineName.TORCH),
        ((9, 0), {"vllm_kv_cache_dtype": KvCacheDType.FP32}, EngineName.VLLM),
        ((9, 0), {"vllm_max_num_batched_tokens": 3000}, EngineName.VLLM),
        ((9, 0), {"vllm_attention_backend": AttentionBackend.FLASH_ATTN}, EngineName.VLLM),
        ((8, 9), {}, EngineName.VLLM),
        ((10, 0), {}, EngineName.VLLM),
    ],
)
def test_auto_takes_torch_where_it_was_measured_and_heeds_every_setting(
    cache: Path, capability: tuple[int, int], changes: dict[str, Any], engine: EngineName
) -> None:
    assert auto_on_gpu(capability, asks_of_vllm=asks_of_vllm(settings(cache, **changes))) is engine


@pytest.mark.skipif(gpu_capability() is not None, reason="there is a GPU")
async def test_auto_is_ctranslate2_without_a_gpu_and_a_named_engine_stays(cache: Path) -> None:
    assert await chosen_engine(settings(cache)) is EngineName.CTRANSLATE2
    for engine in (EngineName.CTRANSLATE2, EngineName.VLLM, EngineName.TORCH):
        assert await chosen_engine(settings(cache, engine=engine)) is engine


async def test_demo_model_is_loaded(cache: Path) -> None:
    engine, tokenizer = await load(settings(cache))
    try:
        assert engine.health() is None
        facts = engine.facts
        assert (facts.model_id, facts.engine, facts.device) == ("demo", "ctranslate2", "cpu")
        assert facts.is_multilingual
        assert tokenizer.is_multilingual
        assert {"en", "de", "es", "ru"} <= set(tokenizer.languages)
    finally:
        await engine.stop()
    assert engine.health() is not None


async def test_ctranslate2_folder_is_loaded(cache: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(converted_folder(DEMO, cache), tmp_path / "converted"))
    reason = await refused(settings(tmp_path / "unused", folder))
    assert reason.startswith(f"MODEL_ID: {folder} has no tokenizer.json; put that of the original checkpoint there")

    shutil.copy(DEMO / "tokenizer.json", folder)
    engine, tokenizer = await load(settings(tmp_path / "unused", folder))
    await engine.stop()
    assert tokenizer.is_multilingual
    assert not (tmp_path / "unused").exists()

    (folder / "model.bin").write_bytes((folder / "model.bin").read_bytes()[:100_000])
    assert "MODEL_ID: CTranslate2 cannot load" in await refused(settings(tmp_path / "unused", folder))


async def test_other_models_than_whisper_are_refused(cache: Path, tmp_path: Path) -> None:
    checkpoint = checkpoint_like_demo(tmp_path / "model", json_changes={"config.json": {"model_type": "llama"}})
    assert "MODEL_ID" in await refused(settings(cache, checkpoint))
    (tmp_path / "empty").mkdir()
    assert "MODEL_ID" in await refused(settings(cache, tmp_path / "empty"))


@pytest.mark.parametrize(
    "model", ["demo2", "./models/nothing", "../a/b", "/no/such/folder", "owner/name/more", "a b/c"]
)
async def test_model_id_that_is_neither_folder_nor_hub_id_is_refused(cache: Path, model: str) -> None:
    reason = await refused(settings(cache, model))
    assert reason.startswith(f"MODEL_ID: {model} is no folder here, no Hugging Face id (owner/name) and no address")
    assert "set it to one of them or to 'demo'" in reason


async def test_engine_that_is_not_installed_is_refused(cache: Path) -> None:
    if is_installed():
        pytest.skip("vLLM is installed here")
    reason = await refused(settings(cache, engine=EngineName.VLLM))
    assert reason.startswith("ENGINE: vllm is not installed; install whisper-server[vllm]")
    assert "set ENGINE to auto or ctranslate2" in reason


async def test_dtype_that_the_processor_lacks_is_refused(cache: Path) -> None:
    lacking = [dtype for dtype, name in ((DType.HALF, "float16"), (DType.BFLOAT16, "bfloat16"))
               if name not in ctranslate2.get_supported_compute_types("cpu")]  # fmt: skip
    if not lacking:
        pytest.skip("this processor computes in every format that there is")
    reason = await refused(settings(cache, dtype=lacking[0]))
    assert reason.startswith(f"DTYPE: {lacking[0]} is not for this processor; set it to auto or to one of ")
    assert "int8" in reason


async def test_dtype_int8_is_used(cache: Path) -> None:
    engine, _ = await load(settings(cache, dtype=DType.INT8))
    dtype = engine.facts.dtype
    await engine.stop()
    assert dtype.startswith("int8")


@pytest.mark.parametrize(("asked_hz", "trained_hz"), [(8000, 16000), (16000, 8000), (8000, 8000)])
async def test_other_sampling_rate_than_the_models_is_refused(
    cache: Path, tmp_path: Path, asked_hz: int, trained_hz: int
) -> None:
    changes = {"preprocessor_config.json": {"sampling_rate": trained_hz}}
    checkpoint = checkpoint_like_demo(tmp_path / "model", json_changes=changes)
    reason = await refused(settings(cache, checkpoint, whisper_sampling_rate=asked_hz))
    assert reason.startswith(f"WHISPER_SAMPLING_RATE: {asked_hz}")


async def test_forced_language_that_the_model_lacks_is_refused(cache: Path, tmp_path: Path) -> None:
    checkpoint = checkpoint_like_demo(tmp_path / "model", without=("tokenizer.json",))
    text = (DEMO / "tokenizer.json").read_text(encoding="utf-8").replace("<|fa|>", "<|f_|>")
    (checkpoint / "tokenizer.json").write_text(text, encoding="utf-8")
    reason = await refused(settings(cache, checkpoint, language_force="fa"))
    assert reason.startswith("LANGUAGE_FORCE: the model does not know fa; leave it empty or set it to one of af, am")


def put_into_hub_cache(hf_home: Path) -> Path:
    """Put the demo model where huggingface_hub keeps the fetched repository owner/name."""
    repository = hf_home / "hub" / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return checkpoint_like_demo(repository / "snapshots" / COMMIT)


def fetch(hf_home: Path, revision: str = "main") -> Path:
    return model_folder(Settings(model_id="owner/name", model_revision=revision, hf_home=hf_home))


@pytest.fixture(params=["offline", "no network"])
def without_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", request.param == "offline")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # no server listens there


@pytest.mark.usefixtures("without_network")
def test_fetched_model_is_found_without_a_network(tmp_path: Path) -> None:
    snapshot = put_into_hub_cache(tmp_path)
    assert fetch(tmp_path) == snapshot
    assert fetch(tmp_path, revision=COMMIT) == snapshot


@pytest.mark.usefixtures("without_network")
def test_model_that_cannot_be_fetched_is_refused_soon(tmp_path: Path) -> None:
    began_s = time.monotonic()
    with pytest.raises(StartError, match=r"^MODEL_ID: owner/name cannot be fetched: revision main: ") as refusal:
        fetch(tmp_path)
    assert time.monotonic() - began_s < 20 * SLOW
    assert str(refusal.value).endswith(
        "check the name, MODEL_REVISION, HF_TOKEN and the network, or set it to a folder"
    )
    assert "\n" not in str(refusal.value)


def test_full_hub_cache_is_refused_by_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's error decides, whatever error the library raises for it."""

    def full(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("Got: OSError") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("whisper_server.engines.model_sources.hub.snapshot_download", full)
    with pytest.raises(StartError) as refusal:
        fetch(tmp_path)
    assert str(refusal.value) == (
        f"HF_HOME: owner/name does not fit into {tmp_path}: No space left on device; make room there, "
        "or set it to another folder"
    )


@pytest.mark.usefixtures("without_network")
async def test_fetched_model_is_loaded(cache: Path, tmp_path: Path) -> None:
    put_into_hub_cache(tmp_path)
    engine, _ = await load(settings(cache, "owner/name", hf_home=tmp_path))
    await engine.stop()


def test_one_set_of_weights_is_fetched() -> None:
    """The files are those of openai/whisper-large-v3, distil-whisper and Systran's repositories."""
    there = [
        "config.json", "generation_config.json", "tokenizer.json", "preprocessor_config.json", "README.md",
        "model.safetensors", "model-00001-of-00002.safetensors", "model.safetensors.index.json", "model.bin",
        "vocabulary.txt", "vocabulary.json", "pytorch_model.bin", "flax_model.msgpack",
        "model.fp32-00001-of-00002.safetensors", "model.safetensors.index.fp32.json", "model.fp32.safetensors",
        "onnx/config.json", "original-model/model.safetensors",
    ]  # fmt: skip
    fetched = list(filter_repo_objects(there, allow_patterns=list(FILES), ignore_patterns=list(OTHER_FILES)))
    assert fetched == [*there[:4], *there[5:11]]


async def test_flashinfer_setting_is_accepted_with_a_warning(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StartError):
        await load_vllm(settings(cache, tmp_path, vllm_use_flashinfer=True), tmp_path, None)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["VLLM_USE_FLASHINFER"]

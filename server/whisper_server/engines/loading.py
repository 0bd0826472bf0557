"""Settings → the engine and the tokenizer of the model, loaded and warm.

The one place that knows which engines there are.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from whisper_server.choices import EngineName
from whisper_server.engines.checkpoint import read_optional_json
from whisper_server.engines.model_folder import model_folder
from whisper_server.engines.vllm.device import CPU, find_gpu, is_installed, require_device
from whisper_server.engines.vllm.model_files import read_model_files
from whisper_server.engines.vllm.options import set_environment, set_import_environment
from whisper_server.engines.vllm.profile import Gpu, ModelShape, Profile, Wanted, cpu_profile, gpu_profile
from whisper_server.errors import StartError
from whisper_server.settings import Settings
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.engine_protocol import Engine
from whisper_server.whisper.tokens import WhisperTokenizer

MAX_SOCKET_FOLDER_CHARACTERS = 107 - 1 - 36
"""A socket's address holds 107 characters; vLLM names its sockets by UUIDs."""


async def load(settings: Settings) -> tuple[Engine, WhisperTokenizer]:
    """Find, load and warm up the model. Raises StartError."""
    if settings.engine is not EngineName.CTRANSLATE2 and is_installed():
        set_import_environment(settings.converted_models_dir)
    on_vllm = await asyncio.to_thread(_takes_vllm, settings.engine)
    gpu = await asyncio.to_thread(require_device) if on_vllm else None
    folder = await asyncio.to_thread(
        model_folder,
        settings.model_id,
        revision=settings.model_revision,
        token=settings.hf_token,
        hf_home=settings.hf_home,
    )
    _require_sampling_rate(settings.whisper_sampling_rate, folder)
    if settings.engine is EngineName.TORCH:
        return await _load_torch(settings, folder)
    return await (_load_vllm(settings, folder, gpu) if on_vllm else _load_ctranslate2(settings, folder))


async def _load_ctranslate2(settings: Settings, folder: Path) -> tuple[Engine, WhisperTokenizer]:
    from whisper_server.engines.ctranslate2 import Ctranslate2Config, Ctranslate2Engine  # nothing that vLLM needs

    engine = Ctranslate2Engine(
        Ctranslate2Config(
            model_id=settings.model_id,
            checkpoint=folder,
            cache=settings.converted_models_dir,
            dtype=settings.dtype,
            n_threads=settings.cpu_threads,
            max_batch_windows=settings.max_batch_windows,
        )
    )
    try:
        await engine.start()
        tokenizer = WhisperTokenizer.from_folder(folder, is_multilingual=engine.facts.is_multilingual)
        _require_language(settings.language_force, tokenizer)
    except StartError:
        await engine.stop()
        raise
    return engine, tokenizer


async def _load_vllm(settings: Settings, folder: Path, gpu: Gpu | None) -> tuple[Engine, WhisperTokenizer]:
    _require_no_beams(settings, "vLLM")
    files = await asyncio.to_thread(read_model_files, folder)
    _require_language(settings.language_force, files.tokenizer)
    profile = _profile(settings, files.shape, gpu)
    temporary = _socket_folder()
    set_environment(profile, on_cpu=gpu is None, temporary=Path(temporary.name))

    def new_engine() -> Engine:
        # Takes seconds, and is not installed everywhere.
        from whisper_server.engines.vllm.engine import VllmConfig, VllmEngine

        device = CPU if gpu is None else gpu.name
        return VllmEngine(VllmConfig(settings.model_id, files, profile, device, temporary))

    async with AsyncExitStack() as undo:
        undo.callback(temporary.cleanup)
        engine = await asyncio.to_thread(new_engine)
        undo.push_async_callback(engine.stop)
        await engine.start()
        undo.pop_all()
    return engine, files.tokenizer


async def _load_torch(settings: Settings, folder: Path) -> tuple[Engine, WhisperTokenizer]:
    from whisper_server.engines.torch.engine import TorchConfig, TorchEngine

    _require_no_beams(settings, "torch")
    files = await asyncio.to_thread(read_model_files, folder)
    _require_language(settings.language_force, files.tokenizer)
    engine = TorchEngine(
        TorchConfig(
            settings.model_id,
            files,
            dtype=str(settings.dtype),
            memory_utilization=settings.vllm_gpu_memory_utilization,
            n_threads=settings.cpu_threads,
        )
    )
    async with AsyncExitStack() as undo:
        undo.push_async_callback(engine.stop)
        await engine.start()
        undo.pop_all()
    return engine, files.tokenizer


def _socket_folder() -> TemporaryDirectory[str]:
    """Where the addresses of vLLM's sockets are short enough."""
    temporary = TemporaryDirectory(prefix="whisper-server-vllm-")
    if len(temporary.name) > MAX_SOCKET_FOLDER_CHARACTERS:
        temporary.cleanup()
        raise StartError(
            f"TMPDIR: {Path(temporary.name).parent} is too long for the names of the sockets that vLLM makes there; "
            f"set it to a folder of at most {MAX_SOCKET_FOLDER_CHARACTERS - len(Path(temporary.name).name) - 1} characters"
        )
    return temporary


def _takes_vllm(name: EngineName) -> bool:
    """`auto` is vLLM where it is installed and has a GPU."""
    return name is EngineName.VLLM or (name is EngineName.AUTO and is_installed() and find_gpu() is not None)


def _profile(settings: Settings, shape: ModelShape, gpu: Gpu | None) -> Profile:
    wanted = Wanted(
        dtype=settings.dtype,
        kv_cache_dtype=settings.vllm_kv_cache_dtype,
        attention_backend=settings.vllm_attention_backend,
        use_flashinfer=settings.vllm_use_flashinfer,
        max_num_batched_tokens=settings.vllm_max_num_batched_tokens,
        memory_utilization=settings.vllm_gpu_memory_utilization,
    )
    return cpu_profile(wanted) if gpu is None else gpu_profile(gpu, shape, wanted)


def _require_no_beams(settings: Settings, engine: str) -> None:
    if settings.beam_size > 1:
        raise StartError(
            f"BEAM_SIZE: {engine} decodes without beams, and BEAM_SIZE is {settings.beam_size}; set it to 1, "
            "or set ENGINE=ctranslate2"
        )


def _require_language(forced: str, tokenizer: WhisperTokenizer) -> None:
    if forced and forced not in tokenizer.languages:
        raise StartError(
            f"LANGUAGE_FORCE: the model does not know {forced}; leave it empty or set it to one of "
            f"{', '.join(sorted(tokenizer.languages))}"
        )


def _require_sampling_rate(asked_hz: int, folder: Path) -> None:
    trained_hz = read_optional_json(folder, "preprocessor_config.json").get("sampling_rate", SAMPLE_RATE_HZ)
    if asked_hz != trained_hz or trained_hz != SAMPLE_RATE_HZ:
        raise StartError(
            f"WHISPER_SAMPLING_RATE: {asked_hz} does not fit the model, whose feature extractor says {trained_hz}; "
            f"leave it at {SAMPLE_RATE_HZ} (recordings of any rate are resampled)"
        )

"""All settings of the server: one frozen dataclass, one field a variable, read from the environment once.

A field is named as its variable in lower case and carries default and help in its metadata; the table in
docs/settings.md is made from them. `from_env` is pure. What takes the model or the GPU to judge is judged by the engine.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from whisper_runtime import choices
from whisper_runtime import environment as env
from whisper_runtime.environment import Network
from whisper_runtime.memory import n_decoders
from whisper_runtime.settings import misspelt, read_settings, setting
from whisper_server.errors import StartError
from whisper_server.settings.model import ModelSettings
from whisper_server.whisper.languages import parse_language

MIB = 1024 * 1024
DEFAULT_DECODED_S = 14_400


def _language_code(text: str) -> str:
    code = parse_language(text) if text else ""
    if code is None:
        raise ValueError("a language of Whisper, such as fa or Persian")
    return code


def _vllm_setting(parse: Callable[[str], Any], default: str, help_text: str) -> Any:
    return setting(parse, default, f"{help_text} (`ENGINE=vllm` only)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(ModelSettings):
    """What was chosen for this server."""

    # The model, besides those of ModelSettings
    model_cache_dir: Path | None = setting(
        env.folder, "", "where converted models are kept; empty: `whisper-server` under `HF_HOME` or `~/.cache`"
    )
    engine: choices.EngineName = setting(
        env.choice(choices.EngineName),
        "auto",
        "`ctranslate2`, `vllm` or `torch`; `auto` on a GPU: `torch` on Hopper and where vLLM is not installed, else `vllm`; without a GPU `ctranslate2`",
    )
    dtype: choices.DType = setting(
        env.choice(choices.DType, choices.DTYPE_SYNONYMS),
        "auto",
        "what the model computes in, where the processor can: `int8` (`ctranslate2` only), `float32`, `half`, `bfloat16`; `auto`: `int8` on a CPU, `bfloat16` on a GPU, `half` on a T4",
        alias="VLLM_DTYPE",
    )
    vllm_kv_cache_dtype: choices.KvCacheDType = setting(
        env.choice(choices.KvCacheDType, choices.KV_CACHE_SYNONYMS),
        "fp16",
        "attention cache on a GPU: `fp16`, `fp8`, `fp32`, `auto`; on `ENGINE=torch` `fp8` holds for the cross-attention, the others change nothing",
    )
    vllm_attention_backend: choices.AttentionBackend | None = _vllm_setting(
        env.optional(env.choice(choices.AttentionBackend)), "", "vLLM's attention backend; empty: what suits the GPU"
    )
    vllm_use_flashinfer: bool = _vllm_setting(
        env.flag, "0", "`0` or `1`; changes nothing any more: Whisper's rules choose the tokens"
    )
    vllm_max_num_batched_tokens: int = _vllm_setting(
        env.whole_number(0, 1_000_000),
        "0",
        "tokens computed in one step, which bounds its memory; `0`: what suits the GPU",
    )
    vllm_gpu_memory_utilization: float = setting(
        env.number(0.05, 0.98), "0.9", "share of the GPU's memory that the engine, `vllm` or `torch`, may take"
    )
    torch_linear_dtype: choices.LinearDType = setting(
        env.choice(choices.LinearDType), "auto", "matrix products of the encoder: `auto`, `fp8` (`ENGINE=torch` only)"
    )
    cpu_threads: int = setting(env.whole_number(0, 256), "0", "threads that the model computes with; `0`: one a core")
    max_batch_windows: int = setting(
        env.whole_number(1, 256),
        "8",
        "windows of speech that `ctranslate2` decodes at a time; `vllm`: as many as the GPU's memory holds",
    )

    # Sound and decoding
    whisper_sampling_rate: int = setting(
        env.whole_number(8000, 192_000), "16000", "must be what the model was trained on: every Whisper, 16000"
    )
    whisper_segment_duration_sec: float = setting(env.number(1, 30), "30", "longest window, 1 to 30 seconds")
    max_audio_seconds: float = setting(
        env.number(0), "0", "longer recordings are refused, never cut; `0`: only `MAX_DECODED_SECONDS` holds"
    )
    max_decoded_seconds: float = setting(
        env.number(1, 604_800), str(DEFAULT_DECODED_S), "longer recordings are refused, whatever `MAX_AUDIO_SECONDS` is"
    )
    language_force: str = setting(
        _language_code, "", "language of all recordings, such as `fa`, whatever the request says"
    )
    timestamps: choices.Timestamps = setting(
        env.choice(choices.Timestamps),
        "auto",
        "`auto`: where the format needs them; `none`: never, segments are whole windows; `segments`: always",
    )
    subtitles: choices.Subtitles = setting(
        env.choice(choices.Subtitles),
        "segments",
        "`segments`: a subtitle is a segment; `readable`: lines, lengths and times that a viewer can read, in every srt and vtt",
    )
    beam_size: int = setting(env.whole_number(1, 20), "1", "beams at temperature 0")
    fallback_temperatures: tuple[float, ...] = setting(
        env.ascending_numbers(0, 1),
        "0,0.2,0.4,0.6,0.8,1",
        "tried in turn while a window's text looks wrong; `0`: only that, and no window is decoded a second time with the text before it",
    )
    diarization: bool = setting(env.flag, "1", "`0` or `1`: find speakers, on request, in 320 MiB of the budget")
    max_new_tokens: int = setting(
        env.whole_number(0, 4096), "0", "most tokens a window; `0`: half of the model's context, 224"
    )

    # HTTP
    interface: str = setting(
        env.matching(r"[0-9A-Za-z.:_-]+", "an address such as 0.0.0.0 or ::"),
        "0.0.0.0",
        "address listened on; `::` takes IPv6 only",
    )
    port: int = setting(env.whole_number(0, 65535), "8000", "port listened on; `0`: any free one")
    metrics_port: int = setting(env.whole_number(0, 65535), "0", "port of `/metrics`; `0`: the same as all the rest")
    root_path: str = setting(env.url_prefix, "", "prefix of all routes, such as `/speech`")
    served_model_names: tuple[str, ...] = setting(
        env.names, "", "names that requests may ask for, between commas; empty: see “Models” in docs/settings.md"
    )
    api_keys_dir: Path | None = setting(
        env.folder, "", "folder with a file per client, whose content is the key; empty: no key is asked for"
    )
    web_page: bool = setting(env.flag, "1", "`1`: a page at `/` to try the server out in a browser; `0`: none")
    cors_allow_origins: tuple[str, ...] = setting(
        env.origins, "", "web origins whose pages may call, between commas, or `*`"
    )

    # Limits
    max_upload_bytes: int = setting(env.whole_number(1024), str(25 * MIB), "largest request body")
    upload_timeout_seconds: float = setting(env.number(1, 86_400), "300", "longest time an upload may take")
    max_queue_seconds: float = setting(
        env.number(1, 86_400),
        "300",
        "longest expected wait before requests are refused, and longest time that one alone may take",
    )
    max_realtime_sessions: int = setting(
        env.whole_number(0, 100_000),
        "0",
        "realtime sessions at a time; `0`: as many as the engine keeps up with, by its measured speed",
    )
    realtime_idle_seconds: float = setting(
        env.number(1, 86_400), "300", "longest time without sound before a realtime session is closed"
    )
    trusted_proxies: tuple[Network, ...] = setting(
        env.networks,
        "",
        "networks of proxies whose `X-Forwarded-For` is believed, between commas, such as `10.0.0.0/8`; see “Clients” in docs/settings.md",
    )
    max_requests_per_client: int = setting(env.whole_number(0, 100_000), "0", "of one client in flight; `0`: no limit")
    max_audio_seconds_per_minute: float = setting(
        env.number(0, 10_000_000), "0", "sound that one client may send per minute, in seconds; `0`: no limit"
    )
    max_bytes_per_client: int = setting(
        env.whole_number(0),
        "0",
        "uploads and decoded sound of one client at a time; `0`: no limit but `MEMORY_BUDGET_BYTES`",
    )
    memory_budget_bytes: int = setting(
        env.whole_number(0),
        "0",
        "for all uploads and decoded sound at a time; `0`: what the container’s memory limit leaves after server, model and decoders, 2 GiB without a limit",
    )
    memory_request_bytes: int = setting(
        env.whole_number(0),
        "0",
        "memory that the pod requests; where the container has no limit, the budget follows from it; `0`: unknown",
    )
    decode_workers: int = setting(
        env.whole_number(0, 64),
        "0",
        "processes that decode files; `0`: one a core and at least 2, one per 512 MiB of the container’s memory, at most 8. Long files take all but one; with `1`, others wait for them",
    )

    # Running
    drain_seconds: float = setting(
        env.number(0, 3600), "15", "after SIGTERM: time in which new requests are still served"
    )
    shutdown_seconds: float = setting(env.number(0, 86_400), "600", "after that: time for running requests to end")
    log_level: choices.LogLevel = setting(env.choice(choices.LogLevel), "info", "`debug`, `info`, `warning` or `error`")
    log_format: choices.LogFormat = setting(env.choice(choices.LogFormat), "json", "`json` or `text`")

    @property
    def n_decode_workers(self) -> int:
        """DECODE_WORKERS, with 0 worked out by the cores; `serve.run` also considers the container's memory."""
        return n_decoders(self.decode_workers, len(os.sched_getaffinity(0)), None)

    @property
    def chosen_longest_s(self) -> float:
        """The longest recording that an administrator chose to accept; 0: it was left to the defaults."""
        if self.max_audio_seconds:
            return min(self.max_audio_seconds, self.max_decoded_seconds)
        return self.max_decoded_seconds if self.max_decoded_seconds > DEFAULT_DECODED_S else 0.0

    @property
    def converted_models_dir(self) -> Path:
        """MODEL_CACHE_DIR, with its default worked out."""
        return self.model_cache_dir or (self.hf_home or Path.home() / ".cache") / "whisper-server"

    @classmethod
    def secret_variables(cls) -> tuple[str, ...]:
        """The variables whose values no other process may see."""
        return tuple(field.name.upper() for field in dataclasses.fields(cls) if field.metadata["secret"])

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """The settings of these variables. Raises StartError with everything that is wrong with them."""
        fields = dataclasses.fields(cls)
        known = [field.name.upper() for field in fields] + [field.metadata["alias"] or "" for field in fields]
        values, wrong = read_settings(cls, environ)
        problems = [*misspelt(environ, known), *wrong]
        if not problems:
            settings = cls(**values)
            problems = list(settings._contradictions())
        if problems:
            raise StartError("; ".join(problems))
        return settings

    def _contradictions(self) -> Iterator[str]:
        if 0 < self.max_bytes_per_client < self.max_upload_bytes:
            yield f"MAX_BYTES_PER_CLIENT must hold one upload: 0, or at least MAX_UPLOAD_BYTES, {self.max_upload_bytes}"
        if self.metrics_port and self.metrics_port == self.port:
            yield "METRICS_PORT is PORT: set 0 to serve /metrics there, or another port"
        if self.memory_budget_bytes and self.memory_budget_bytes < self.max_upload_bytes:
            yield f"MEMORY_BUDGET_BYTES must hold one upload: at least MAX_UPLOAD_BYTES, {self.max_upload_bytes}"

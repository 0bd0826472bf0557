"""Every variable: its default, what it may be and what it may not. The tables name each variable once."""

import dataclasses
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from whisper_runtime.choices import (
    AttentionBackend,
    DType,
    EngineName,
    KvCacheDType,
    LinearDType,
    LogFormat,
    LogLevel,
    Subtitles,
    Timestamps,
)
from whisper_server.errors import StartError
from whisper_server.settings import Settings

DEFAULTS: dict[str, Any] = {
    "MODEL_REVISION": "main",
    "MODEL_SHA256": "",
    "HF_TOKEN": "",
    "DOCKER_CONFIG": None,
    "AWS_ENDPOINT_URL": "",
    "AWS_REGION": "",
    "AWS_ACCESS_KEY_ID": "",
    "AWS_SECRET_ACCESS_KEY": "",
    "AWS_SESSION_TOKEN": "",
    "HF_HOME": None,
    "MODEL_CACHE_DIR": None,
    "ENGINE": EngineName.AUTO,
    "DTYPE": DType.AUTO,
    "VLLM_KV_CACHE_DTYPE": KvCacheDType.FP16,
    "VLLM_ATTENTION_BACKEND": None,
    "VLLM_USE_FLASHINFER": False,
    "VLLM_MAX_NUM_BATCHED_TOKENS": 0,
    "VLLM_GPU_MEMORY_UTILIZATION": 0.9,
    "TORCH_LINEAR_DTYPE": LinearDType.AUTO,
    "CPU_THREADS": 0,
    "MAX_BATCH_WINDOWS": 8,
    "WHISPER_SAMPLING_RATE": 16000,
    "WHISPER_SEGMENT_DURATION_SEC": 30.0,
    "MAX_AUDIO_SECONDS": 0.0,
    "MAX_DECODED_SECONDS": 14400.0,
    "LANGUAGE_FORCE": "",
    "TIMESTAMPS": Timestamps.AUTO,
    "SUBTITLES": Subtitles.SEGMENTS,
    "BEAM_SIZE": 1,
    "FALLBACK_TEMPERATURES": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    "MAX_NEW_TOKENS": 0,
    "INTERFACE": "0.0.0.0",
    "PORT": 8000,
    "METRICS_PORT": 0,
    "ROOT_PATH": "",
    "SERVED_MODEL_NAMES": (),
    "API_KEYS_DIR": None,
    "WEB_PAGE": True,
    "DIARIZATION": True,
    "CORS_ALLOW_ORIGINS": (),
    "MAX_UPLOAD_BYTES": 26_214_400,
    "UPLOAD_TIMEOUT_SECONDS": 300.0,
    "MAX_QUEUE_SECONDS": 300.0,
    "TRUSTED_PROXIES": (),
    "MAX_REALTIME_SESSIONS": 0,
    "REALTIME_IDLE_SECONDS": 300.0,
    "MAX_REQUESTS_PER_CLIENT": 0,
    "MAX_AUDIO_SECONDS_PER_MINUTE": 0.0,
    "MAX_BYTES_PER_CLIENT": 0,
    "MEMORY_BUDGET_BYTES": 0,
    "MEMORY_REQUEST_BYTES": 0,
    "DECODE_WORKERS": 0,
    "DRAIN_SECONDS": 15.0,
    "SHUTDOWN_SECONDS": 600.0,
    "LOG_LEVEL": LogLevel.INFO,
    "LOG_FORMAT": LogFormat.JSON,
}

GOOD: list[tuple[str, str, Any]] = [
    ("MODEL_ID", "openai/whisper-large-v3-turbo", "openai/whisper-large-v3-turbo"),
    ("MODEL_ID", "/models/my model", "/models/my model"),
    ("MODEL_REVISION", "v2.1", "v2.1"),
    ("MODEL_ID", "oci://registry.example:5000/team/whisper:v1", "oci://registry.example:5000/team/whisper:v1"),
    ("MODEL_SHA256", "ab" * 32, "ab" * 32),
    ("HF_TOKEN", "hf_abc", "hf_abc"),
    ("DOCKER_CONFIG", "/etc/registry", Path("/etc/registry")),
    ("AWS_ENDPOINT_URL", "https://minio.example:9000", "https://minio.example:9000"),
    ("AWS_REGION", "eu-central-1", "eu-central-1"),
    ("AWS_ACCESS_KEY_ID", "AKIA", "AKIA"),
    ("AWS_SECRET_ACCESS_KEY", "a/b+c", "a/b+c"),
    ("AWS_SESSION_TOKEN", "t==", "t=="),
    ("HF_HOME", "/cache/hf", Path("/cache/hf")),
    ("MODEL_CACHE_DIR", "/cache/converted", Path("/cache/converted")),
    ("ENGINE", "ctranslate2", EngineName.CTRANSLATE2),
    ("ENGINE", "VLLM", EngineName.VLLM),
    ("DTYPE", "fp16", DType.HALF),
    ("DTYPE", "float16", DType.HALF),
    ("DTYPE", "half", DType.HALF),
    ("DTYPE", "bf16", DType.BFLOAT16),
    ("DTYPE", "bfloat16", DType.BFLOAT16),
    ("DTYPE", "float32", DType.FLOAT32),
    ("DTYPE", "int8", DType.INT8),
    ("VLLM_KV_CACHE_DTYPE", "auto", KvCacheDType.AUTO),
    ("VLLM_KV_CACHE_DTYPE", "float16", KvCacheDType.FP16),
    ("VLLM_KV_CACHE_DTYPE", "fp8", KvCacheDType.FP8),
    ("VLLM_KV_CACHE_DTYPE", "e5m2", KvCacheDType.FP8),
    ("VLLM_KV_CACHE_DTYPE", "fp32", KvCacheDType.FP32),
    ("VLLM_ATTENTION_BACKEND", "XFORMERS", AttentionBackend.XFORMERS),
    ("VLLM_ATTENTION_BACKEND", "triton_attn", AttentionBackend.TRITON_ATTN),
    ("VLLM_USE_FLASHINFER", "1", True),
    ("VLLM_USE_FLASHINFER", "false", False),
    ("VLLM_MAX_NUM_BATCHED_TOKENS", "8192", 8192),
    ("VLLM_GPU_MEMORY_UTILIZATION", "0.45", 0.45),
    ("TORCH_LINEAR_DTYPE", "fp8", LinearDType.FP8),
    ("CPU_THREADS", "2", 2),
    ("MAX_BATCH_WINDOWS", "16", 16),
    ("WHISPER_SAMPLING_RATE", "22050", 22050),
    ("WHISPER_SEGMENT_DURATION_SEC", "12.5", 12.5),
    ("MAX_AUDIO_SECONDS", "600", 600.0),
    ("MAX_DECODED_SECONDS", "3600", 3600.0),
    ("LANGUAGE_FORCE", "fa", "fa"),
    ("LANGUAGE_FORCE", "Haitian Creole", "ht"),
    ("TIMESTAMPS", "none", Timestamps.NONE),
    ("TIMESTAMPS", "segments", Timestamps.SEGMENTS),
    ("SUBTITLES", "readable", Subtitles.READABLE),
    ("BEAM_SIZE", "5", 5),
    ("FALLBACK_TEMPERATURES", "0", (0.0,)),
    ("FALLBACK_TEMPERATURES", "0, 0.5 ,1.0", (0.0, 0.5, 1.0)),
    ("MAX_NEW_TOKENS", "224", 224),
    ("INTERFACE", "::", "::"),
    ("PORT", "80", 80),
    ("PORT", "0", 0),
    ("METRICS_PORT", "9090", 9090),
    ("ROOT_PATH", "/speech/v2/", "/speech/v2"),
    ("ROOT_PATH", "/", ""),
    ("SERVED_MODEL_NAMES", "whisper, openai/whisper-1", ("whisper", "openai/whisper-1")),
    ("API_KEYS_DIR", "/var/run/keys", Path("/var/run/keys")),
    ("WEB_PAGE", "0", False),
    ("DIARIZATION", "0", False),
    ("CORS_ALLOW_ORIGINS", "*", ("*",)),
    ("CORS_ALLOW_ORIGINS", "https://a.example, http://localhost:3000", ("https://a.example", "http://localhost:3000")),
    ("MAX_UPLOAD_BYTES", "1048576", 1_048_576),
    ("UPLOAD_TIMEOUT_SECONDS", "2.5", 2.5),
    ("MAX_QUEUE_SECONDS", "10", 10.0),
    ("TRUSTED_PROXIES", "10.0.0.0/8, ::1", (ip_network("10.0.0.0/8"), ip_network("::1"))),
    ("MAX_REALTIME_SESSIONS", "20", 20),
    ("REALTIME_IDLE_SECONDS", "60", 60.0),
    ("MAX_REQUESTS_PER_CLIENT", "4", 4),
    ("MAX_AUDIO_SECONDS_PER_MINUTE", "600", 600.0),
    ("MAX_BYTES_PER_CLIENT", "536870912", 536_870_912),
    ("MEMORY_BUDGET_BYTES", "536870912", 536_870_912),
    ("MEMORY_REQUEST_BYTES", "2147483648", 2_147_483_648),
    ("DECODE_WORKERS", "3", 3),
    ("DRAIN_SECONDS", "0", 0.0),
    ("SHUTDOWN_SECONDS", "0", 0.0),
    ("LOG_LEVEL", "WARNING", LogLevel.WARNING),
    ("LOG_FORMAT", "text", LogFormat.TEXT),
]

BAD: list[tuple[str, str, str]] = [
    ("MODEL_REVISION", "two words", "a name without spaces"),
    ("MODEL_SHA256", "AB" * 32, "64 hexadecimal digits in lower case, as sha256sum prints them"),
    ("HF_TOKEN", "two words", "a token without spaces"),
    ("AWS_ENDPOINT_URL", "minio:9000", "an address such as https://minio.example.com:9000, without a path"),
    ("AWS_ENDPOINT_URL", "https://minio/bucket", "an address such as https://minio.example.com:9000, without a path"),
    ("AWS_REGION", "EU", "a region such as eu-central-1"),
    ("AWS_ACCESS_KEY_ID", "two words", "a key id without spaces"),
    ("AWS_SECRET_ACCESS_KEY", "two words", "a key without spaces"),
    ("AWS_SESSION_TOKEN", "two words", "a token without spaces"),
    ("ENGINE", "tensorrt", "one of auto, ctranslate2, vllm"),
    ("DTYPE", "fp4", "one of auto, half, bfloat16, float32, int8 (or float16, fp16, bf16, fp32)"),
    ("VLLM_KV_CACHE_DTYPE", "int4", "one of auto, fp16, fp8, fp32"),
    ("VLLM_ATTENTION_BACKEND", "FLASH", "one of FLASH_ATTN, TRITON_ATTN"),
    ("VLLM_USE_FLASHINFER", "2", "0 or 1"),
    ("VLLM_MAX_NUM_BATCHED_TOKENS", "-1", "a whole number"),
    ("VLLM_GPU_MEMORY_UTILIZATION", "1", "a number from 0.05 to 0.98"),
    ("TORCH_LINEAR_DTYPE", "int8", "one of auto, fp8"),
    ("CPU_THREADS", "-1", "a whole number from 0 to 256"),
    ("MAX_BATCH_WINDOWS", "0", "a whole number from 1 to 256"),
    ("WHISPER_SAMPLING_RATE", "16 kHz", "a whole number from 8000 to 192000"),
    ("WHISPER_SEGMENT_DURATION_SEC", "31", "a number from 1 to 30"),
    ("WHISPER_SEGMENT_DURATION_SEC", "nan", "a number from 1 to 30"),
    ("MAX_AUDIO_SECONDS", "-1", "a number from 0 up"),
    ("MAX_AUDIO_SECONDS", "inf", "a number from 0 up"),
    ("MAX_DECODED_SECONDS", "0", "a number from 1 to 604800"),
    ("LANGUAGE_FORCE", "<|fa|>", "a language of Whisper, such as fa or Persian"),
    ("LANGUAGE_FORCE", "xx", "a language of Whisper, such as fa or Persian"),
    ("TIMESTAMPS", "word", "one of auto, none, segments"),
    ("SUBTITLES", "long", "one of segments, readable"),
    ("BEAM_SIZE", "1.5", "a whole number from 1 to 20"),
    ("FALLBACK_TEMPERATURES", "0,,1", "numbers from 0 to 1 between commas, each larger than the one before"),
    ("FALLBACK_TEMPERATURES", "0.4,0.2", "numbers from 0 to 1 between commas, each larger than the one before"),
    ("MAX_NEW_TOKENS", "many", "a whole number from 0 to 4096"),
    ("INTERFACE", "all of them", "an address such as 0.0.0.0 or ::"),
    ("PORT", "65536", "a whole number from 0 to 65535"),
    ("PORT", "tcp://10.0.0.1:80", "a whole number from 0 to 65535"),
    ("METRICS_PORT", "x", "a whole number from 0 to 65535"),
    ("ROOT_PATH", "speech", "a path such as /speech"),
    ("ROOT_PATH", "/a//b", "a path such as /speech"),
    ("SERVED_MODEL_NAMES", "a,,b", "different names between commas, without spaces"),
    ("SERVED_MODEL_NAMES", "a,a", "different names between commas, without spaces"),
    ("WEB_PAGE", "maybe", "0 or 1"),
    ("DIARIZATION", "maybe", "0 or 1"),
    ("CORS_ALLOW_ORIGINS", "app.example.com", "* or origins such as https://app.example.com"),
    ("CORS_ALLOW_ORIGINS", "https://a.example/", "* or origins such as https://app.example.com"),
    ("CORS_ALLOW_ORIGINS", "*,https://a.example", "* or origins such as https://app.example.com"),
    ("MAX_UPLOAD_BYTES", "25MB", "a whole number from 1024 up"),
    ("UPLOAD_TIMEOUT_SECONDS", "0", "a number from 1 to 86400"),
    ("MAX_QUEUE_SECONDS", "soon", "a number from 1 to 86400"),
    (
        "TRUSTED_PROXIES",
        "10.0.0.0/33",
        "networks such as 10.0.0.0/8 or fd00::/8 between commas",
    ),
    ("MAX_REALTIME_SESSIONS", "-1", "a whole number from 0 to 100000"),
    ("REALTIME_IDLE_SECONDS", "0", "a number from 1 to 86400"),
    ("MAX_REQUESTS_PER_CLIENT", "-1", "a whole number from 0 to 100000"),
    ("MAX_AUDIO_SECONDS_PER_MINUTE", "much", "a number from 0 to 10000000"),
    ("MAX_BYTES_PER_CLIENT", "-1", "a whole number from 0 up"),
    ("MEMORY_BUDGET_BYTES", "-1", "a whole number from 0 up"),
    ("MEMORY_REQUEST_BYTES", "2Gi", "a whole number from 0 up"),
    ("DECODE_WORKERS", "65", "a whole number from 0 to 64"),
    ("DRAIN_SECONDS", "-0.1", "a number from 0 to 3600"),
    ("SHUTDOWN_SECONDS", "never", "a number from 0 to 86400"),
    ("LOG_LEVEL", "loud", "one of debug, info, warning, error"),
    ("LOG_FORMAT", "xml", "one of json, text"),
]
ANY_TEXT = {"MODEL_ID", "HF_HOME", "DOCKER_CONFIG", "MODEL_CACHE_DIR", "API_KEYS_DIR"}


def variables() -> set[str]:
    return {field.name.upper() for field in dataclasses.fields(Settings)}


def refusal(environ: dict[str, str]) -> str:
    with pytest.raises(StartError) as caught:
        Settings.from_env(environ)
    return str(caught.value)


def test_the_tables_name_every_variable() -> None:
    assert set(DEFAULTS) | {"MODEL_ID"} == variables()
    assert {name for name, *_ in GOOD} == variables()
    assert {name for name, *_ in BAD} | ANY_TEXT == variables()


@pytest.mark.parametrize(("variable", "value"), DEFAULTS.items())
def test_default(variable: str, value: Any) -> None:
    for environ in ({"MODEL_ID": "demo"}, {"MODEL_ID": "demo", variable: " "}):
        found = getattr(Settings.from_env(environ), variable.lower())
        assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(("variable", "text", "value"), GOOD)
def test_good_value(variable: str, text: str, value: Any) -> None:
    found = getattr(Settings.from_env({"MODEL_ID": "demo"} | {variable: text}), variable.lower())
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(("variable", "text", "expected"), BAD)
def test_bad_value_is_refused_with_name_and_allowed_values(variable: str, text: str, expected: str) -> None:
    message = refusal({"MODEL_ID": "demo", variable: text})
    assert message.startswith(f"{variable} must be {expected}")
    assert (repr(text) in message) is (variable not in Settings.secret_variables())


def test_model_is_required() -> None:
    assert refusal({}) == refusal({"MODEL_ID": "  "}) == "MODEL_ID must be set, for example MODEL_ID=demo"


def test_all_problems_are_reported_at_once() -> None:
    message = refusal({"PORT": "x", "BEAM_SIZE": "0"})
    assert [part.split()[0] for part in message.split("; ")] == ["MODEL_ID", "BEAM_SIZE", "PORT"]


def test_dtype_by_its_older_name() -> None:
    assert Settings.from_env({"MODEL_ID": "demo", "VLLM_DTYPE": "half"}).dtype is DType.HALF
    assert Settings.from_env({"MODEL_ID": "demo", "VLLM_DTYPE": "half", "DTYPE": "fp16"}).dtype is DType.HALF
    assert refusal({"MODEL_ID": "demo", "VLLM_DTYPE": "x"}).startswith("VLLM_DTYPE must be one of")
    both = refusal({"MODEL_ID": "demo", "VLLM_DTYPE": "half", "DTYPE": "bf16"})
    assert both == "DTYPE and VLLM_DTYPE mean the same and must not differ: set one of them"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("WHISPER_SEGMENT_DURATION_SECONDS", "WHISPER_SEGMENT_DURATION_SEC"),
        ("MAX_UPLOAD_BYTE", "MAX_UPLOAD_BYTES"),
        ("CORS_ALLOWED_ORIGINS", "CORS_ALLOW_ORIGINS"),
    ],
)
def test_misspelt_variable_is_refused(wrong: str, right: str) -> None:
    assert refusal({"MODEL_ID": "demo", wrong: "1"}) == f"{wrong} is unknown: did you mean {right}?"


def test_variables_of_other_programs_are_ignored() -> None:
    others = [
        "LANGUAGE",
        "PORTS",
        "HF_TOKEN_PATH",
        "HF_HUB_OFFLINE",
        "AWS_ENDPOINT_MODE",
        "WHISPER_PORT",
        "WHISPER_SERVICE_PORT_HTTP",
    ]
    others += ["VLLM_USE_FLASHINFER_SAMPLER", "VLLM_KV_CACHE_LAYOUT", "VLLM_LOGGING_LEVEL", "MODEL_ID_2", "LOG_LEVELS"]
    assert Settings.from_env({"MODEL_ID": "demo"} | dict.fromkeys(others, "1")) == Settings(model_id="demo")


def test_contradicting_settings_are_refused() -> None:
    ports = refusal({"MODEL_ID": "demo", "PORT": "9000", "METRICS_PORT": "9000"})
    assert ports == "METRICS_PORT is PORT: set 0 to serve /metrics there, or another port"
    assert refusal({"MODEL_ID": "demo", "MAX_BYTES_PER_CLIENT": "2000000"}).startswith("MAX_BYTES_PER_CLIENT must hold")
    assert refusal({"MODEL_ID": "demo", "MEMORY_BUDGET_BYTES": "2000000"}).startswith("MEMORY_BUDGET_BYTES must hold")


def test_secrets_are_not_shown() -> None:
    settings = Settings.from_env({"MODEL_ID": "demo", "HF_TOKEN": "hf_secret"})
    assert "hf_secret" not in repr(settings)
    assert "hf_secret" not in refusal({"MODEL_ID": "demo", "HF_TOKEN": "hf_secret two"})


def test_defaults_follow_from_the_machine() -> None:
    assert Settings(model_id="demo", decode_workers=3).n_decode_workers == 3
    assert 1 <= Settings(model_id="demo").n_decode_workers <= 8
    assert Settings(model_id="demo", hf_home=Path("/hf")).converted_models_dir == Path("/hf/whisper-server")
    assert Settings(model_id="demo").converted_models_dir == Path.home() / ".cache" / "whisper-server"
    assert Settings(model_id="demo", model_cache_dir=Path("/m"), hf_home=Path("/hf")).converted_models_dir == Path("/m")

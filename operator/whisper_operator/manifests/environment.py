"""The environment variables of the server, from the spec and the chart's defaults.

The operator sets only what the server cannot see from inside the pod, and what the spec says: numbers that depend on the
GPU are the server's own decision. A variable with the server's default value is left out, except those that the pod
template depends on (ports, times, folders). The order is fixed, and of two variables with one name the later one counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from whisper_operator import names
from whisper_operator.errors import SpecError
from whisper_operator.manifests import volumes
from whisper_operator.manifests.documents import plain
from whisper_operator.manifests.resolved import engine_of
from whisper_operator.manifests.resources import bytes_of
from whisper_operator.manifests.routes import root_path
from whisper_operator.resource.access import Access
from whisper_operator.resource.required_secrets import S3_KEYS, S3_TOKEN
from whisper_operator.resource.reserved import RESERVED_ENV
from whisper_operator.resource.spec import Endpoint, Transcription
from whisper_operator.settings import Defaults, Settings
from whisper_runtime.choices import DType, EngineName, Timestamps

Variable = dict[str, Any]
Pairs = Iterator[tuple[str, str]]

DECODED_LIMIT_S = 14_400
"""The server's default of MAX_DECODED_SECONDS."""


def environment(endpoint: Endpoint, settings: Settings, resources: Mapping[str, Any]) -> list[Variable]:
    """`env` of a container with these resources."""
    spec = endpoint.spec
    pairs = {
        "MODEL_ID": spec.model.id,
        **dict(_model(endpoint)),
        **dict(_engine(endpoint)),
        **dict(_transcription(spec.transcription)),
        **dict(_serving(endpoint)),
        **_folders(endpoint),
        **dict(_network(settings.defaults)),
    }
    variables = [{"name": name, "value": value} for name, value in pairs.items()]
    variables += _memory(resources)
    variables += _secrets(endpoint)
    variables += [plain(each) for each in settings.defaults.env if each["name"] not in RESERVED_ENV]
    variables += _own(endpoint)
    return _last_of_each(variables)


def _model(endpoint: Endpoint) -> Pairs:
    model = endpoint.spec.model
    if model.revision != "main":
        yield "MODEL_REVISION", model.revision
    if model.sha256:
        yield "MODEL_SHA256", model.sha256
    if model.pull_secret_ref is not None:
        yield "DOCKER_CONFIG", volumes.REGISTRY
    if model.s3 and model.s3.endpoint_url:
        yield "AWS_ENDPOINT_URL", model.s3.endpoint_url
    if model.s3 and model.s3.region:
        yield "AWS_REGION", model.s3.region
    if model.served_names:
        yield "SERVED_MODEL_NAMES", ",".join(model.served_names)


def _memory(resources: Mapping[str, Any]) -> list[Variable]:
    """The server sees its container's limit by itself, but not the pod's request."""
    request = resources.get("requests", {}).get("memory")
    if request is None or "memory" in resources.get("limits", {}):
        return []
    return [{"name": "MEMORY_REQUEST_BYTES", "value": str(bytes_of(request))}]


def _secrets(endpoint: Endpoint) -> Iterator[Variable]:
    """The hub's token, or the key of the bucket."""
    model = endpoint.spec.model
    if token := model.token_secret_ref:
        yield _from_secret("HF_TOKEN", token.name, token.key)
    if model.s3 and (key := model.s3.credentials_secret_ref):
        yield from (_from_secret(name, key.name, name) for name in S3_KEYS)
        yield _from_secret(S3_TOKEN, key.name, S3_TOKEN, optional=True)


def _from_secret(variable: str, name: str, key: str, *, optional: bool = False) -> Variable:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key, "optional": optional}}}


def _engine(endpoint: Endpoint) -> Pairs:
    engine = endpoint.spec.engine
    if engine_of(endpoint) is not EngineName.AUTO:
        yield "ENGINE", str(engine_of(endpoint))
    if engine.dtype is not DType.AUTO:
        yield "DTYPE", str(engine.dtype)
    if engine.kv_cache_dtype is not None:
        yield "VLLM_KV_CACHE_DTYPE", str(engine.kv_cache_dtype)
    if engine.attention_backend is not None:
        yield "VLLM_ATTENTION_BACKEND", str(engine.attention_backend)
    if engine.max_batched_tokens is not None:
        yield "VLLM_MAX_NUM_BATCHED_TOKENS", str(engine.max_batched_tokens)
    if engine.gpu_memory_utilization is not None:
        yield "VLLM_GPU_MEMORY_UTILIZATION", f"{engine.gpu_memory_utilization:g}"


def _transcription(wanted: Transcription) -> Pairs:
    if wanted.language_force:
        yield "LANGUAGE_FORCE", wanted.language_force
    if wanted.timestamps is not Timestamps.AUTO:
        yield "TIMESTAMPS", str(wanted.timestamps)
    if wanted.max_audio_seconds is not None:
        yield "MAX_AUDIO_SECONDS", str(wanted.max_audio_seconds)
        if wanted.max_audio_seconds > DECODED_LIMIT_S:
            yield "MAX_DECODED_SECONDS", str(wanted.max_audio_seconds)
    if wanted.segment_duration_seconds is not None:
        yield "WHISPER_SEGMENT_DURATION_SEC", f"{wanted.segment_duration_seconds:g}"
    if wanted.diarization.enabled is not None:
        yield "DIARIZATION", str(int(wanted.diarization.enabled))


def _serving(endpoint: Endpoint) -> Pairs:
    spec = endpoint.spec
    yield "PORT", str(names.HTTP_PORT)
    yield "METRICS_PORT", str(names.METRICS_PORT)
    if root_path(endpoint):
        yield "ROOT_PATH", root_path(endpoint)
    if spec.access.api_keys_secret_ref is not None:
        yield "API_KEYS_DIR", volumes.API_KEYS
    if spec.access.max_upload_bytes is not None:
        yield "MAX_UPLOAD_BYTES", str(spec.access.max_upload_bytes)
    if spec.access.max_queue_seconds is not None:
        yield "MAX_QUEUE_SECONDS", str(spec.access.max_queue_seconds)
    yield from _clients(spec.access)
    if spec.access.web_page is False:
        yield "WEB_PAGE", "0"
    yield "DRAIN_SECONDS", str(spec.rollout.drain_seconds)
    yield "SHUTDOWN_SECONDS", str(spec.rollout.shutdown_seconds)


def _clients(access: Access) -> Pairs:
    quotas, realtime = access.quotas, access.realtime
    for name, limit in (
        ("MAX_REQUESTS_PER_CLIENT", quotas.max_requests),
        ("MAX_AUDIO_SECONDS_PER_MINUTE", quotas.max_audio_seconds_per_minute),
        ("MAX_BYTES_PER_CLIENT", quotas.max_bytes),
        ("MAX_REALTIME_SESSIONS", realtime.max_sessions),
        ("REALTIME_IDLE_SECONDS", realtime.idle_seconds),
    ):
        if limit is not None:
            yield name, str(limit)
    if access.trusted_proxies:
        yield "TRUSTED_PROXIES", ",".join(access.trusted_proxies)


def _folders(endpoint: Endpoint) -> dict[str, str]:
    scratch, models = volumes.SCRATCH, volumes.cache_folder(endpoint)
    return {
        "HF_HOME": f"{models}/huggingface",
        "MODEL_CACHE_DIR": f"{models}/converted",
        "HOME": scratch,
        "TMPDIR": "/tmp",  # noqa: S108 - the pod's own
        "XDG_CACHE_HOME": f"{scratch}/.cache",
        "XDG_CONFIG_HOME": f"{scratch}/.config",
        "TORCHINDUCTOR_CACHE_DIR": f"{scratch}/torchinductor",
        "TRITON_CACHE_DIR": f"{scratch}/triton",
        "VLLM_CACHE_ROOT": f"{scratch}/vllm",
    }


def _network(defaults: Defaults) -> Pairs:
    """How to reach the hub. Programs differ in the case of the proxy variables, so both are set."""
    for name, value in (
        ("HTTP_PROXY", defaults.http_proxy),
        ("HTTPS_PROXY", defaults.https_proxy),
        ("NO_PROXY", defaults.no_proxy),
    ):
        if value:
            yield name, value
            yield name.lower(), value
    if defaults.hf_endpoint:
        yield "HF_ENDPOINT", defaults.hf_endpoint
    if defaults.offline:
        yield "HF_HUB_OFFLINE", "1"
    if defaults.ca_bundle_config_map:
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            yield name, f"{volumes.CA_FOLDER}/{volumes.CA_FILE}"


def _own(endpoint: Endpoint) -> list[Variable]:
    for index, variable in enumerate(endpoint.spec.pod.env):
        name = variable["name"]
        if name in RESERVED_ENV:
            instead = f": write {RESERVED_ENV[name]}" if RESERVED_ENV[name] else " and cannot be changed"
            raise SpecError(f"pod.env[{index}].name", f"{name} is set by the operator{instead}")
    return [plain(variable) for variable in endpoint.spec.pod.env]


def _last_of_each(variables: Iterable[Variable]) -> list[Variable]:
    """The API server refuses an apply that has a name twice."""
    found: dict[str, Variable] = {}
    for variable in variables:
        found.pop(variable["name"], None)
        found[variable["name"]] = variable
    return list(found.values())

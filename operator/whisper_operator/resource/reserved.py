"""Variables and labels of pods that the operator sets: which of them a spec may not hold, and which only tune. Data only."""

from __future__ import annotations

from collections.abc import Mapping

from whisper_operator import names

RESERVED_ENV: Mapping[str, str] = {
    "MODEL_ID": "model.id",
    "MODEL_REVISION": "model.revision",
    "MODEL_SHA256": "model.sha256",
    "SERVED_MODEL_NAMES": "model.servedNames",
    "HF_TOKEN": "model.tokenSecretRef",
    "DOCKER_CONFIG": "model.pullSecretRef",
    "AWS_ENDPOINT_URL": "model.s3.endpointUrl",
    "AWS_ENDPOINT_URL_S3": "model.s3.endpointUrl",
    "AWS_REGION": "model.s3.region",
    "AWS_ACCESS_KEY_ID": "model.s3.credentialsSecretRef",
    "AWS_SECRET_ACCESS_KEY": "model.s3.credentialsSecretRef",
    "AWS_SESSION_TOKEN": "model.s3.credentialsSecretRef",
    "ENGINE": "engine.type",
    "DTYPE": "engine.dtype",
    "VLLM_DTYPE": "engine.dtype",
    "VLLM_KV_CACHE_DTYPE": "engine.kvCacheDtype",
    "VLLM_ATTENTION_BACKEND": "engine.attentionBackend",
    "VLLM_MAX_NUM_BATCHED_TOKENS": "engine.maxBatchedTokens",
    "VLLM_GPU_MEMORY_UTILIZATION": "engine.gpuMemoryUtilization",
    "LANGUAGE_FORCE": "transcription.languageForce",
    "TIMESTAMPS": "transcription.timestamps",
    "MAX_AUDIO_SECONDS": "transcription.maxAudioSeconds",
    "WHISPER_SEGMENT_DURATION_SEC": "transcription.segmentDurationSeconds",
    "DIARIZATION": "transcription.diarization.enabled",
    "API_KEYS_DIR": "access.apiKeysSecretRef",
    "MAX_UPLOAD_BYTES": "access.maxUploadBytes",
    "MAX_QUEUE_SECONDS": "access.maxQueueSeconds",
    "MEMORY_REQUEST_BYTES": "pod.resources",
    "MAX_REQUESTS_PER_CLIENT": "access.quotas.maxRequests",
    "MAX_AUDIO_SECONDS_PER_MINUTE": "access.quotas.maxAudioSecondsPerMinute",
    "MAX_BYTES_PER_CLIENT": "access.quotas.maxBytes",
    "MAX_REALTIME_SESSIONS": "access.realtime.maxSessions",
    "REALTIME_IDLE_SECONDS": "access.realtime.idleSeconds",
    "WEB_PAGE": "access.webPage",
    "TRUSTED_PROXIES": "access.trustedProxies",
    "ROOT_PATH": "exposure.ingress.path or exposure.gateway.path",
    "DRAIN_SECONDS": "rollout.drainSeconds",
    "SHUTDOWN_SECONDS": "rollout.shutdownSeconds",
    "HF_HOME": "cache",
    "MODEL_CACHE_DIR": "cache",
    "INTERFACE": "",
    "PORT": "",
    "METRICS_PORT": "",
    "HOME": "",
    "TMPDIR": "",
    "XDG_CACHE_HOME": "",
    "XDG_CONFIG_HOME": "",
    "VLLM_CACHE_ROOT": "",
    "TRITON_CACHE_DIR": "",
    "TORCHINDUCTOR_CACHE_DIR": "",
    "NVIDIA_VISIBLE_DEVICES": "",
}
"""Variables that pod.env may not hold → the field to write instead. Empty: the pod template depends on it."""

TUNING_ENV = frozenset(
    {
        "ENGINE",
        "DTYPE",
        "VLLM_DTYPE",
        "VLLM_KV_CACHE_DTYPE",
        "VLLM_ATTENTION_BACKEND",
        "VLLM_MAX_NUM_BATCHED_TOKENS",
        "VLLM_GPU_MEMORY_UTILIZATION",
        "VLLM_USE_FLASHINFER",
        "LANGUAGE_FORCE",
        "TIMESTAMPS",
        "MAX_AUDIO_SECONDS",
        "MAX_DECODED_SECONDS",
        "WHISPER_SEGMENT_DURATION_SEC",
        "MAX_UPLOAD_BYTES",
        "MAX_QUEUE_SECONDS",
        "MAX_REALTIME_SESSIONS",
        "REALTIME_IDLE_SECONDS",
        "MEMORY_BUDGET_BYTES",
        "DRAIN_SECONDS",
        "SHUTDOWN_SECONDS",
    }
)
"""Variables of speed, language and limits: none decides about callers, code or the way of data. Operators of different
versions may write different ones for the same spec."""

RESERVED_LABELS: tuple[str, ...] = tuple(key for key in names.labels_of("") if not key.startswith(f"{names.GROUP}/"))
"""Labels of pods that only the operator sets, in addition to all labels of its own group."""

"""The `spec` of a WhisperEndpoint as frozen dataclasses, with defaults.

A field's camelCase name is its name in YAML. Rules between fields are in `rules`; the resulting children are in
`manifests`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from whisper_operator.resource import choices
from whisper_operator.resource.access import Access, Exposure, Service
from whisper_operator.resource.fields import (
    EXTENDED_RESOURCE,
    LABEL_VALUE,
    OBJECT_NAME,
    REQUIRED,
    Document,
    spec_field,
)
from whisper_operator.resource.model import Model
from whisper_operator.resource.pod import Cache, DisruptionBudget, Pod, Rollout
from whisper_runtime.choices import AttentionBackend, DType, EngineName, KvCacheDType, Timestamps
from whisper_runtime.languages import NAME_OF_CODE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gpu:
    """The GPU that each pod gets."""

    class_: choices.GpuClass = spec_field(
        "GPUs that the pods may run on: t4 (compute capability 7.5), ampere (8.0 to 8.7), ada (8.9), hopper (9.x), blackwell (10.x and 12.x), auto (any), none (no GPU: the CPU engine).",
        choices.GpuClass.AUTO,
    )
    resource_name: str = spec_field(
        "The extended resource of which each pod requests one, such as nvidia.com/gpu or nvidia.com/mig-2g.20gb.",
        "nvidia.com/gpu",
        **EXTENDED_RESOURCE,
    )
    device_class_name: str | None = spec_field(
        "The DeviceClass of which each pod claims one device, such as gpu.nvidia.com or mig.nvidia.com: dynamic resource allocation (Kubernetes 1.34 or later, and NVIDIA's DRA driver) instead of resourceName. class and minMemoryGiB then select devices, not nodes.",
        **OBJECT_NAME,
    )
    min_memory_gib: int | None = spec_field(
        "Only GPUs that are sold with at least this much memory: 16 takes a T4, 24 an A10G or L4, 80 an H100. A GPU or a MIG slice counts as its size if its driver reports at least 92 % of it.",
        minimum=1,
        maximum=1024,
    )
    shared: bool = spec_field(
        "Whether the pods may run on GPUs that are shared by time-slicing or MPS, or that are a slice (MIG) under the name of a whole one. Needs engine.gpuMemoryUtilization.",
        False,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Engine:
    """The engine that runs the model."""

    type: EngineName = spec_field(
        "What runs the model: vllm or torch (not tried in a cluster) on GPUs, ctranslate2 on CPUs. auto: torch on hopper unless attentionBackend, maxBatchedTokens or kvCacheDtype: fp32 ask for vllm, vllm on other GPUs, ctranslate2 on CPUs; with gpu.class auto the server decides by its GPU.",
        EngineName.AUTO,
    )
    dtype: DType = spec_field(
        "Number format of the computation. auto: half on a t4, bfloat16 on later GPUs, int8 on CPUs.",
        DType.AUTO,
    )
    kv_cache_dtype: KvCacheDType | None = spec_field(
        "Number format of the engine's attention cache; fp32 is vllm's only. Absent: 16 bits. fp8 needs compute capability 8.9 or later."
    )
    attention_backend: AttentionBackend | None = spec_field(
        "vLLM's attention backend. Absent: TRITON_ATTN on a t4, otherwise the server's choice for the GPU."
    )
    max_batched_tokens: int | None = spec_field(
        "Tokens that vLLM computes in one step, which bounds its memory. Absent: the server's choice for the GPU.",
        minimum=1500,
        maximum=1_000_000,
    )
    gpu_memory_utilization: float | None = spec_field(
        "Share of the GPU's memory that the engine (vllm or torch) may take. Needed on a shared GPU.",
        minimum=0.05,
        maximum=0.98,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Diarization:
    """Speakers, for requests that ask for them."""

    enabled: bool | None = spec_field(
        "true: on, and pods request the memory that it takes; false: off. Absent: on, within the memory for requests."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transcription:
    """How recordings are transcribed."""

    language_force: str = spec_field(
        'Language of all recordings, such as fa, whatever a request says. Empty: the request\'s, or detected. Norwegian is "no", with quotes.',
        "",
        enum=["", *sorted(NAME_OF_CODE)],
    )
    timestamps: Timestamps = spec_field(
        "auto: timestamps if the response format needs them; none: never; segments: always.", Timestamps.AUTO
    )
    max_audio_seconds: int | None = spec_field(
        "Longer recordings are refused. Absent: only the server's own limit of four hours holds.",
        minimum=1,
        maximum=604_800,
    )
    segment_duration_seconds: float | None = spec_field(
        "Longest window that is decoded at once, in seconds. Absent: 30.", minimum=1, maximum=30
    )
    diarization: Diarization = spec_field("Speakers, for requests that ask for them.", Diarization())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Autoscaling:
    """A HorizontalPodAutoscaler that sets `replicas`."""

    min_replicas: int = spec_field("Fewest pods.", 1, minimum=1, maximum=1000)
    max_replicas: int = spec_field("Most pods.", REQUIRED, minimum=1, maximum=1000)
    metric: choices.ScalingMetric = spec_field(
        "The metric to scale by: cpu (percent of the CPU requested; needs metrics-server), queue (seconds of audio in a pod, waiting or being decoded or transcribed), running (requests in a pod) or sessions (realtime sessions in a pod). All but cpu need KEDA and the operator's prometheusUrl, or an adapter for custom metrics.",
        REQUIRED,
    )
    target: int = spec_field(
        "Target value of the metric, averaged over the pods.", REQUIRED, minimum=1, maximum=1_000_000
    )
    behavior: Document | None = spec_field(
        "How fast pods are added and removed. Absent parts: scaleUp doubles the pods or adds 2 per minute; scaleDown removes one per 2 minutes, 10 minutes after the need ended.",
        embedded="io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerBehavior",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec:
    """The whole spec."""

    model: Model = spec_field("The model that is served.", REQUIRED)
    gpu: Gpu = spec_field("The GPU that each pod gets: one, or none.", Gpu())
    engine: Engine = spec_field("What runs the model, and how.", Engine())
    transcription: Transcription = spec_field("How recordings are transcribed.", Transcription())
    access: Access = spec_field("Keys and limits of requests.", Access())
    service: Service = spec_field("The Service in front of the pods.", Service())
    exposure: Exposure | None = spec_field("The route from outside the cluster. Absent: the Service only.")
    replicas: int = spec_field("Number of pods. With autoscaling, the autoscaler sets it.", 1, minimum=0, maximum=1000)
    autoscaling: Autoscaling | None = spec_field("A HorizontalPodAutoscaler that sets replicas.")
    cache: Cache | None = spec_field(
        "Where downloaded and converted models are kept. Absent: in the pod, and each new pod downloads them again."
    )
    rollout: Rollout = spec_field("How pods are replaced, started and stopped.", Rollout())
    disruption_budget: DisruptionBudget = spec_field(
        "How many pods a node drain may evict at a time.", DisruptionBudget()
    )
    pod: Pod = spec_field("Other fields of the pods.", Pod())
    common_labels: Mapping[str, str] = spec_field(
        "Labels of everything that the endpoint is made of, its pods included. Those of the operator cannot be set.",
        {},
        maxProperties=32,
        values=LABEL_VALUE,
    )
    common_annotations: Mapping[str, str] = spec_field(
        "Annotations of everything that the endpoint is made of, its pods included.", {}, maxProperties=32
    )
    suspend: bool = spec_field("true: no pods and no autoscaler; everything else stays.", False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A WhisperEndpoint: its identity and its spec."""

    namespace: str
    name: str
    uid: str
    generation: int
    created_at: str
    """metadata.creationTimestamp, RFC 3339: sorts as text."""
    spec: Spec
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)

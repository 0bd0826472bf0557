"""The status of a WhisperEndpoint as dataclasses, for its schema and its documentation. `status` builds it.

Data only; see `spec`.
"""

from __future__ import annotations

import dataclasses

from whisper_operator.resource.fields import REQUIRED, spec_field


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resolved:
    """What the spec resolves to. auto: the server decides by the GPU that it finds; none: it does not apply."""

    engine: str | None = spec_field("Engine that runs the model.")
    gpu_class: str | None = spec_field("Class of the GPUs.")
    dtype: str | None = spec_field("Number format of the computation.")
    kv_cache_dtype: str | None = spec_field("Number format of the attention cache.")
    image: str | None = spec_field("Image of the server.")
    model_revision: str | None = spec_field("Revision of the model.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CacheStatus:
    """A model on its way into the volume of the cache."""

    model: str | None = spec_field("The model.")
    fetched_bytes: int | None = spec_field("Bytes that are there.", minimum=0, maximum=2**53)
    total_bytes: int | None = spec_field("Bytes that are to be there, as far as it is known.", minimum=0, maximum=2**53)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Condition:
    """One aspect of the endpoint: True, False or Unknown."""

    type: str = spec_field(
        "What it is about: Ready, Valid, Scheduled, Progressing, RolledOut, Available, Exposed, Autoscaling, Preloaded, DefaultImage or Synced.",
        REQUIRED,
        minLength=1,
        maxLength=316,
    )
    status: str = spec_field("True, False or Unknown.", REQUIRED, enum=["True", "False", "Unknown"])
    reason: str = spec_field("Reason, one word for programs.", REQUIRED, minLength=1, maxLength=1024)
    message: str = spec_field("Reason and remedy, for people.", REQUIRED, maxLength=32_768)
    observed_generation: int | None = spec_field(
        "metadata.generation that the condition refers to.", minimum=0, maximum=2**53
    )
    last_transition_time: str = spec_field("When status last changed.", REQUIRED, format="date-time")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Status:
    """The observed state."""

    observed_generation: int | None = spec_field(
        "metadata.generation of the spec that was last reconciled.", minimum=0, maximum=2**53
    )
    replicas: int | None = spec_field("Number of pods.", minimum=0, maximum=2**31 - 1)
    ready_replicas: int | None = spec_field("Number of pods that serve requests.", minimum=0, maximum=2**31 - 1)
    selector: str | None = spec_field("Label selector of the pods, for autoscalers.")
    url: str | None = spec_field("Base URL for OpenAI clients.")
    resolved: Resolved | None = spec_field(
        "What the spec resolves to; auto: the server decides by the GPU that it finds."
    )
    cache: CacheStatus | None = spec_field("While cache.preload fetches a model: how far it is.")
    conditions: tuple[Condition, ...] = spec_field("The conditions, with reasons.", (), maxItems=16)

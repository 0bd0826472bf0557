"""CPU, memory and GPU of the container: the spec's, or defaults by the model's name; what the server must know of them.

The server sees a limit by itself (cgroup) but not a request. How much of it requests may hold is the server's decision;
`whisper_runtime.memory` has the figures that both use.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from whisper_operator.errors import SpecError
from whisper_operator.manifests.device_claims import pod_claims
from whisper_operator.manifests.documents import plain
from whisper_operator.manifests.resolved import uses_gpu
from whisper_operator.resource.spec import Endpoint
from whisper_runtime.memory import (
    BUDGET_BYTES,
    DIARIZER_BYTES,
    GIB,
    MIB,
    SERVER_BYTES,
    budget_for_bytes,
    requested_bytes,
    reserved_bytes,
)

DEFAULT_UPLOAD_BYTES = 25 * MIB
"""The server's default of MAX_UPLOAD_BYTES."""
_SUFFIXES = {
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)},
    **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", 1)},
    "m": Decimal("1e-3"),
    "u": Decimal("1e-6"),
    "n": Decimal("1e-9"),
}


def bytes_of(quantity: Any) -> int:
    """A Kubernetes amount of memory in bytes: 2Gi, 1.5G, 129e6, 1000. Raises ValueError."""
    text = str(quantity)
    suffix = next((one for one in _SUFFIXES if text.endswith(one) and not one.isdigit()), "")
    try:
        return int(Decimal(text.removesuffix(suffix)) * _SUFFIXES.get(suffix, Decimal(1)))
    except ArithmeticError:
        raise ValueError(f"{text} is no amount of memory") from None


def make_resources(endpoint: Endpoint) -> dict[str, Any]:
    """The spec's resources or the defaults, plus one GPU. Raises SpecError."""
    gpu = endpoint.spec.gpu.resource_name
    asked = endpoint.spec.pod.resources
    resources = plain({"requests": _default_requests(endpoint)} if asked is None else asked)
    for kind in ("limits", "requests"):
        if gpu in resources.get(kind, {}):
            raise SpecError(
                f"pod.resources.{kind}",
                f"leave out {gpu}: a pod gets one by gpu.class, and none with gpu.class none",
            )
    _check_memory(endpoint, resources)
    if endpoint.spec.gpu.device_class_name:
        resources["claims"] = [{"name": each["name"]} for each in pod_claims(endpoint)]
    elif uses_gpu(endpoint):
        resources["limits"] = {**resources.get("limits", {}), gpu: "1"}
        resources["requests"] = {**resources.get("requests", {}), gpu: "1"}
    return dict(resources)


def _default_requests(endpoint: Endpoint) -> dict[str, str]:
    """No limits, because only the user knows how much may be used. More memory for long recordings and large uploads."""
    n_bytes = _needed_bytes(endpoint, BUDGET_BYTES)
    return {"cpu": "2" if uses_gpu(endpoint) else "1", "memory": f"{n_bytes // GIB}Gi"}


def _check_memory(endpoint: Endpoint, resources: Mapping[str, Any]) -> None:
    """Raises SpecError where the limit surely cannot hold a recording or an upload that the spec accepts."""
    limit = resources.get("limits", {}).get("memory")
    longest_s, upload_bytes = endpoint.spec.transcription.max_audio_seconds, endpoint.spec.access.max_upload_bytes
    if limit is None or (longest_s is None and upload_bytes is None):
        return
    least_bytes = reserved_bytes(SERVER_BYTES, 1) + budget_for_bytes(longest_s or 0, upload_bytes or 0)
    if bytes_of(limit) < least_bytes:
        raise SpecError(
            "pod.resources.limits.memory",
            f"{limit} cannot hold what transcription.maxAudioSeconds and access.maxUploadBytes accept: "
            f"write {_needed_bytes(endpoint, 0) // GIB}Gi, or lower them",
        )


def _needed_bytes(endpoint: Endpoint, least_budget_bytes: int) -> int:
    spec = endpoint.spec
    upload_bytes = spec.access.max_upload_bytes or DEFAULT_UPLOAD_BYTES
    budget_bytes = max(least_budget_bytes, budget_for_bytes(spec.transcription.max_audio_seconds or 0, upload_bytes))
    if spec.transcription.diarization.enabled:
        budget_bytes += DIARIZER_BYTES
    return requested_bytes(spec.model.id, budget_bytes=budget_bytes, uses_gpu=uses_gpu(endpoint))

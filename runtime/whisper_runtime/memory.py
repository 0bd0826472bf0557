"""What a server takes in memory: the server bounds itself by it, the operator requests as much. Pure.

Bytes that cannot be reclaimed (anonymous and shared memory), on CPUs with int8 weights. Measured with demo, base and turbo
(bench/RESULTS.md); the other models by their parameters, GPUs estimated.
"""

from __future__ import annotations

MIB = 1 << 20
GIB = 1 << 30

SAMPLES_BYTES_PER_S = 64_000
"""Decoded sound: float32 at 16 kHz."""
DECODER_BYTES = 20 * MIB
"""A decoder that waits."""
DECODER_ROOM_BYTES = 128 * MIB
"""What a decoder may take more for a file. The kernel enforces it; 6 channels of float64 at 192 kHz take 46 MiB."""
MIN_BYTES_PER_DECODER = 512 * MIB
"""Of the container's memory: with less there are fewer decoders than cores."""
MAX_DECODERS = 8
WORK_BYTES = 160 * MIB
"""What transcribing and the heap take while requests run: 130 to 170 MiB with the demo model and 8 clients."""
WORK_SHARE = 0.15
"""The same for large models, of what is held before: turbo goes from 2.1 to 2.3 GB."""
SERVER_BYTES = 160 * MIB
"""The server without its model."""
_MODEL_BYTES = {  # weights in int8, by the last words of the id; the first that fits
    "tiny": 80 * MIB,
    "base": 120 * MIB,
    "small": 400 * MIB,
    "medium": 1_000 * MIB,
    "turbo": 1_850 * MIB,
    "large": 2_200 * MIB,
    "demo": 60 * MIB,
}
UNKNOWN_MODEL_BYTES = 400 * MIB
BUDGET_BYTES = GIB
"""Of a server whose pod requests what `requested_bytes` says: an hour of sound is 220 MiB."""
DIARIZER_BYTES = 320 * MIB
"""The process that finds speakers, while it runs: held from the budget."""
SESSION_PROCESS_BYTES = 120 * MIB
"""A process of realtime sessions, while it has some and a minute longer: held from the budget."""
TURN_END_BYTES = 120 * MIB
"""The end-of-turn model, from the first session that asks it on: held from the budget. 40 MiB, and 76 while two sounds are in it."""
GPU_SERVER_BYTES = 4 * GIB
"""Estimated, not measured: server and engine process with a GPU, without decoders."""


def n_decoders(wanted: int, n_cores: int, container_bytes: int | None) -> int:
    """DECODE_WORKERS with 0 worked out: one a core and at least 2, one per 512 MiB of the container, 1 to 8.

    Long files take all decoders but one: a second one keeps clips from waiting for them.
    """
    if wanted:
        return wanted
    by_memory = MAX_DECODERS if container_bytes is None else container_bytes // MIN_BYTES_PER_DECODER
    return max(1, min(MAX_DECODERS, max(2, n_cores), by_memory))


def reserved_bytes(held_bytes: int, n_workers: int) -> int:
    """What the budget must leave free once server, model and decoders hold `held_bytes`."""
    return held_bytes + max(WORK_BYTES, round(WORK_SHARE * held_bytes)) + n_workers * DECODER_ROOM_BYTES


def budget_for_bytes(max_audio_s: float, max_upload_bytes: int) -> int:
    """The smallest budget in which the longest recording can be held, with its upload."""
    return round(max_audio_s * SAMPLES_BYTES_PER_S) + max_upload_bytes


def model_bytes(model_id: str) -> int:
    """Of the model on a CPU, by its name; UNKNOWN_MODEL_BYTES where the name says nothing."""
    name = model_id.rsplit("/", 1)[-1].lower()
    return next((n_bytes for size, n_bytes in _MODEL_BYTES.items() if size in name), UNKNOWN_MODEL_BYTES)


def requested_bytes(model_id: str, *, budget_bytes: int, uses_gpu: bool) -> int:
    """What a pod requests so that all of it and a budget fit: whole GiB."""
    held = GPU_SERVER_BYTES if uses_gpu else SERVER_BYTES + model_bytes(model_id)
    n_bytes = budget_bytes
    for _ in range(2):  # the number of decoders follows from the sum
        n_workers = n_decoders(0, MAX_DECODERS, held + n_bytes)
        n_bytes = reserved_bytes(held + n_workers * DECODER_BYTES, n_workers) - held + budget_bytes
    return -(-(held + n_bytes) // GIB) * GIB

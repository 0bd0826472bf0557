"""What the container allows, read from trees of files as kernels and container runtimes show them; what is left of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from whisper_runtime.memory import (
    DECODER_BYTES,
    DECODER_ROOM_BYTES,
    GIB,
    MAX_DECODERS,
    MIB,
    SERVER_BYTES,
    WORK_BYTES,
    model_bytes,
    n_decoders,
    requested_bytes,
    reserved_bytes,
)
from whisper_server.errors import StartError
from whisper_server.memory.pod import BudgetPlan, PodMemory, cgroup_limit_bytes, held_bytes

V1_UNLIMITED = "9223372036854771712"
CGROUP, MEMORY = "sys/fs/cgroup", "sys/fs/cgroup/memory"
OF_PROCESS = "proc/self/cgroup"
TREES: dict[str, tuple[Mapping[str, str], int | None]] = {
    "v2_container": ({OF_PROCESS: "0::/\n", f"{CGROUP}/memory.max": "1073741824\n"}, GIB),
    "v2_unlimited": ({OF_PROCESS: "0::/\n", f"{CGROUP}/memory.max": "max\n"}, None),
    "v2_root_without_file": ({OF_PROCESS: "0::/\n"}, None),
    "v2_tighter_above": (
        {
            OF_PROCESS: "0::/kubepods.slice/pod1.slice/cri-1.scope\n",
            f"{CGROUP}/kubepods.slice/memory.max": "max\n",
            f"{CGROUP}/kubepods.slice/pod1.slice/memory.max": "536870912\n",
            f"{CGROUP}/kubepods.slice/pod1.slice/cri-1.scope/memory.max": "1073741824\n",
        },
        GIB // 2,
    ),
    "v2_path_of_the_host": ({OF_PROCESS: "0::/../../cri-1.scope\n", f"{CGROUP}/memory.max": "268435456\n"}, GIB // 4),
    "v1_container": (
        {
            OF_PROCESS: "12:cpu,cpuacct:/docker/abc\n11:memory:/docker/abc\n1:name=systemd:/docker/abc\n0::/docker/abc\n",
            f"{MEMORY}/memory.limit_in_bytes": "2147483648\n",
            f"{CGROUP}/cpu,cpuacct/memory.limit_in_bytes": "1\n",
        },
        2 * GIB,
    ),
    "v1_on_the_host": (
        {
            OF_PROCESS: "4:memory:/user/1000\n",
            f"{MEMORY}/memory.limit_in_bytes": V1_UNLIMITED,
            f"{MEMORY}/user/memory.limit_in_bytes": V1_UNLIMITED,
            f"{MEMORY}/user/1000/memory.limit_in_bytes": "805306368\n",
        },
        768 * MIB,
    ),
    "v1_unlimited": ({OF_PROCESS: "4:memory:/\n", f"{MEMORY}/memory.limit_in_bytes": V1_UNLIMITED}, None),
    "hybrid": (
        {
            OF_PROCESS: "3:hugetlb,memory:/pod\n0::/pod\n",
            f"{MEMORY}/pod/memory.limit_in_bytes": "1073741824\n",
            f"{CGROUP}/unified/pod/memory.max": "1\n",
        },
        GIB,
    ),
    "no_proc": ({f"{CGROUP}/memory.max": "1073741824\n"}, GIB),
    "nothing": ({}, None),
    "nonsense": ({OF_PROCESS: "0::/\n", f"{CGROUP}/memory.max": "much\n"}, None),
}


def written(root: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.mark.parametrize("name", TREES)
def test_limit_is_the_tightest_that_holds(name: str, tmp_path: Path) -> None:
    files, expected_bytes = TREES[name]

    assert cgroup_limit_bytes(written(tmp_path, files)) == expected_bytes


def test_held_memory_is_what_cannot_be_reclaimed(tmp_path: Path) -> None:
    """Anonymous memory of all, shared memory once; a process that has ended is left out."""
    status = "Name:\tpython\nVmRSS:\t  900 kB\nRssAnon:\t  {} kB\nRssFile:\t  700 kB\nRssShmem:\t  {} kB\n"
    root = written(
        tmp_path,
        {
            "proc/7/status": status.format(100, 50),
            "proc/8/status": status.format(20, 60),
            "proc/10/status": "Name:\tkthread\n",
        },
    )

    assert held_bytes([7, 8, 9, 10], root) == (100 + 20 + 60) * 1024


def test_held_memory_of_this_process_and_its_children_is_read() -> None:
    before = held_bytes()
    code = "import sys; kept = b'x' * (64 << 20); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with_child = held_bytes()
        child.kill()

    assert before > 5 * MIB
    assert with_child - before > 64 * MIB
    assert held_bytes([os.getpid()]) <= before + MIB


def plan(pod: PodMemory, *, asked_bytes: int = 0, max_audio_s: float = 0) -> BudgetPlan:
    return BudgetPlan(pod, asked_bytes=asked_bytes, max_upload_bytes=25 * MIB, max_audio_s=max_audio_s, n_workers=2)


def test_budget_is_what_the_limit_leaves() -> None:
    held = 200 * MIB

    left = plan(PodMemory(GIB)).budget_bytes(held)

    assert left == GIB - held - WORK_BYTES - 2 * DECODER_ROOM_BYTES
    assert plan(PodMemory(GIB), asked_bytes=100 * MIB).budget_bytes(held) == 100 * MIB
    assert plan(PodMemory(GIB), asked_bytes=2 * GIB).budget_bytes(held) == left, "what is asked for does not fit"
    assert plan(PodMemory(GIB, 512 * MIB)).budget_bytes(held) == left, "the limit counts, not the request"


def test_large_model_leaves_more_free_for_its_work() -> None:
    held = 4 * GIB

    assert plan(PodMemory(8 * GIB)).budget_bytes(held) == 8 * GIB - round(1.15 * held) - 2 * DECODER_ROOM_BYTES


def test_start_below_one_upload_is_refused_by_name() -> None:
    with pytest.raises(StartError) as refusal:
        plan(PodMemory(640 * MIB)).budget_bytes(200 * MIB)

    message = str(refusal.value)
    assert "\n" not in message
    assert message.startswith("MEMORY_BUDGET_BYTES: the container's memory limit of 640 MiB leaves 24 MiB after")
    for name in ("MAX_UPLOAD_BYTES, 25 MiB", "DECODE_WORKERS", "MODEL_ID", "pod.resources.limits.memory"):
        assert name in message
    assert plan(PodMemory(641 * MIB)).budget_bytes(200 * MIB) == 25 * MIB


def test_time_that_memory_cannot_hold_is_refused_by_name() -> None:
    with pytest.raises(
        StartError, match=r"MAX_AUDIO_SECONDS.*: 20000 s of sound take 1221 MiB.* 408 MiB.*limits.memory"
    ):
        plan(PodMemory(GIB), max_audio_s=20_000).budget_bytes(200 * MIB)
    with pytest.raises(StartError, match="MAX_AUDIO_SECONDS"):
        plan(PodMemory(), asked_bytes=GIB, max_audio_s=20_000).budget_bytes(200 * MIB)
    assert plan(PodMemory(GIB), max_audio_s=6_000).budget_bytes(200 * MIB) == 408 * MIB


def test_without_limit_a_request_guides_and_never_refuses() -> None:
    held = 200 * MIB

    assert plan(PodMemory()).budget_bytes(held) == 2 * GIB
    assert plan(PodMemory(None, 2 * GIB)).budget_bytes(held) == 2 * GIB - held - WORK_BYTES - 2 * DECODER_ROOM_BYTES
    assert plan(PodMemory(None, 64 * MIB)).budget_bytes(held) == 512 * MIB
    assert plan(PodMemory(None, 64 * MIB), max_audio_s=20_000).budget_bytes(held) == 1_280_000_000 + 25 * MIB
    assert plan(PodMemory(), max_audio_s=40_000).budget_bytes(held) == 2_560_000_000 + 25 * MIB
    assert plan(PodMemory(), asked_bytes=30 * MIB).budget_bytes(held) == 30 * MIB


@pytest.mark.parametrize(
    ("wanted", "n_cores", "container_bytes", "expected"),
    [
        (0, 2, None, 2),
        (0, 64, None, 8),
        (0, 64, GIB, 2),
        (0, 64, 64 * MIB, 1),
        (0, 2, 64 * GIB, 2),
        (5, 2, GIB, 5),
    ],
)
def test_decoders_fit_cores_and_memory(wanted: int, n_cores: int, container_bytes: int | None, expected: int) -> None:
    assert n_decoders(wanted, n_cores, container_bytes) == expected


@pytest.mark.parametrize(
    "model_id", ["demo", "openai/whisper-tiny.en", "openai/whisper-large-v3-turbo", "a/b", "/models/c"]
)
def test_request_holds_server_model_decoders_and_budget(model_id: str) -> None:
    request = requested_bytes(model_id, budget_bytes=GIB, uses_gpu=False)
    n_workers = n_decoders(0, MAX_DECODERS, request)
    held = SERVER_BYTES + model_bytes(model_id) + n_workers * DECODER_BYTES

    assert request % GIB == 0
    assert request - reserved_bytes(held, n_workers) >= GIB - n_workers * DECODER_BYTES

"""Figures as the benchmarks print them, and the machine that they were taken on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil


def quantile(values: Sequence[float], q: float) -> float:
    """The q-quantile; NaN of nothing."""
    return float(np.quantile(values, q)) if values else float("nan")


def latencies(values_s: Sequence[float]) -> str:
    """p50, p95 and p99 in a form to read."""
    return " / ".join(f"{quantile(values_s, q):.2f}" for q in (0.5, 0.95, 0.99)) + " s"


def spread(values: Sequence[float]) -> str:
    """Mean, lowest and highest."""
    return f"{np.mean(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def machine() -> str:
    """Date, processor, cores and load: a figure means nothing without them."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    load = os.getloadavg()[0]
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {len(os.sched_getaffinity(0))} cores of {model}, load before {load:.1f}"


def process_cpu_s(process: psutil.Process) -> float:
    """Of one process; 0 where it has ended."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)

"""Loads a small net into this process, on onnxruntime: one thread, and memory that goes back to the system."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from whisper_server.errors import StartError

# From 1.29 on onnxruntime reports to Microsoft, and writes an id into the temporary folder, as soon as it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime


def onnx_session(model: Path, name: str) -> Any:
    """An InferenceSession, which threads may share. `name`: what the model is, for people. Raises StartError."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the layers are too small to run in parallel, and requests do
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # an arena never frees the memory of the largest call
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no base class of their own
        raise StartError(f"The {name} model {model} cannot be loaded: {error}") from error

"""openai/whisper's own package in a process and a Python of its own, on the weights that this server loads.

The package needs torch, which no lock of ours has: it is installed from the package index into the cache, by version, at
the first call (3 GB on Linux, because the index has no torch without CUDA). Nothing else uses that environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import psutil
from figures import process_cpu_s

from pinned_packages import cache_folder, made_once, run_for
from whisper_server.whisper.transcript import Samples

VERSION = "20250625"
TORCH_VERSION = "2.11.0"
_PROGRAM = Path(__file__).with_name("openai_whisper_program.py")
_PACKAGES = (f"openai-whisper=={VERSION}", f"torch=={TORCH_VERSION}", "numba==0.65.0", "safetensors")
_LEFT_OUT = 'triton; sys_platform == "never"'
"""For GPUs only."""


def python() -> Path:
    """The Python that has openai/whisper: OPENAI_WHISPER_PYTHON, else installed at the first call. Raises PackageUnavailable."""
    if given := os.environ.get("OPENAI_WHISPER_PYTHON"):
        return Path(given)
    folder = cache_folder() / f"openai-whisper-{VERSION}-torch-{TORCH_VERSION}"
    uv = [sys.executable, "-m", "uv"]
    with made_once(folder) as unfinished:
        if unfinished is not None:
            # sys._base_executable is the Python that the environment of this process was made with.
            base = getattr(sys, "_base_executable", sys.executable)
            venv = unfinished / "venv"
            run_for(
                "openai-whisper", [*uv, "venv", "--quiet", "--relocatable", "--python", base, str(venv)], unfinished
            )
            (unfinished / "left_out.txt").write_text(_LEFT_OUT, encoding="utf-8")
            into = ["--python", str(venv / "bin" / "python"), "--overrides", "left_out.txt"]
            run_for("openai-whisper", [*uv, "pip", "install", "--quiet", *into, *_PACKAGES], unfinished)
    return folder / "venv" / "bin" / "python"


class OpenAiWhisper:
    """The model in its process. A context manager: leaving it ends the process."""

    def __init__(self, checkpoint: Path, n_threads: int) -> None:
        """Start the process; `checkpoint` is a Hugging Face folder in float32. Raises PackageUnavailable."""
        self._process = subprocess.Popen(
            [str(python()), str(_PROGRAM), str(checkpoint), str(n_threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def cpu_s(self) -> float:
        """CPU seconds that the process has used so far."""
        return process_cpu_s(psutil.Process(self._process.pid))

    def transcribe(self, samples: Samples, **job: Any) -> Mapping[str, Any]:
        """The program's answer to one recording of 16 kHz; `job` is what the program says. Raises RuntimeError."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.NamedTemporaryFile(suffix=".npy") as file:
            np.save(file, samples)
            file.flush()
            self._process.stdin.write(json.dumps({"samples": file.name, **job}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"openai/whisper's process has ended with {self._process.wait()}; it says why above")
        answer: dict[str, Any] = json.loads(line)
        return answer

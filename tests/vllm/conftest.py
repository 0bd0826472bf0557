"""Tests of the GPU engine's processes on vLLM's CPU build. `make vllm` installs the environment and runs this folder.

The content of responses is tested in tests/api, which runs on this engine, too.
"""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def on_vllm() -> None:
    if os.environ.get("TEST_ENGINE") != "vllm":
        pytest.skip("TEST_ENGINE is not vllm: `make vllm` runs this")

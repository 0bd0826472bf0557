"""One engine for all tests of the Engine Protocol, in the process of the tests: TEST_ENGINE says which.

On ctranslate2 they run with the unit tests; on vLLM in the environment of its CPU build (`make vllm`).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from model_kit.demo import DEMO, model_cache
from whisper_server.engines import load
from whisper_server.memory.malloc import keep_large_blocks
from whisper_server.settings import Settings
from whisper_server.whisper.engine_protocol import Engine
from whisper_server.whisper.tokens import WhisperTokenizer

OPTIONS = {"ctranslate2": {"CPU_THREADS": "2", "MAX_BATCH_WINDOWS": "4"}, "vllm": {}, "torch": {"CPU_THREADS": "2"}}
"""Batches that a few windows fill."""


@dataclass(frozen=True)
class Loaded:
    """An engine that has started, and the tokenizer of its model."""

    engine: Engine
    tokenizer: WhisperTokenizer


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def loaded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Loaded]:
    name = os.environ.get("TEST_ENGINE", "ctranslate2")
    settings = {
        "MODEL_ID": str(DEMO),
        "ENGINE": name,
        "MODEL_CACHE_DIR": str(model_cache(tmp_path_factory.mktemp("models"))),
        **OPTIONS[name],
    }
    keep_large_blocks()
    engine, tokenizer = await load(Settings.from_env(settings))
    yield Loaded(engine, tokenizer)
    await engine.stop()


@pytest.fixture(scope="session")
def engine(loaded: Loaded) -> Engine:
    return loaded.engine


@pytest.fixture(scope="session")
def tokenizer(loaded: Loaded) -> WhisperTokenizer:
    return loaded.tokenizer

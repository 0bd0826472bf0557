"""`serve` as a process of its own over doubles; argument: how many seconds loading blocks a thread, or an error."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from http_kit.doubles import Doubles
from whisper_server.__main__ import main
from whisper_server.errors import StartError
from whisper_server.memory.budget import MemoryBudget
from whisper_server.metrics import Metrics
from whisper_server.serve import run
from whisper_server.service import Backend
from whisper_server.settings import Settings


@asynccontextmanager
async def load(_settings: Settings, _metrics: Metrics, _budget: MemoryBudget) -> AsyncIterator[Backend]:
    if sys.argv[1] == "error":
        raise StartError("MODEL_ID=nonsense: there is no such model.")
    await asyncio.to_thread(time.sleep, float(sys.argv[1]))
    yield Doubles().backend()


if __name__ == "__main__":
    import whisper_server.__main__ as command

    command._serve = lambda: run(Settings.from_env(os.environ), load)
    sys.exit(main([]))

"""A server on the torch engine whose process answers without a model, in the time that a busy GPU takes. For `live_front`.

Everything in front of a GPU is there: shared memory, pickled messages, the thread that reads answers, and answers of one step
together. A live window's text grows with its sound and goes on from the text that it is given, so that passes agree, slide and are
settled as those of a model. Takes the settings of the server from the environment.
"""

from __future__ import annotations

import heapq
import itertools
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection

import numpy as np
import numpy.typing as npt
from instant_engine import backend_of

from model_kit.demo import DEMO
from whisper_runtime.choices import DType
from whisper_server.engines.gpu.model_files import read_model_files
from whisper_server.engines.gpu.shared_audio import SharedAudioPool
from whisper_server.engines.torch import engine as torch_engine
from whisper_server.engines.torch.engine import TorchConfig, TorchEngine
from whisper_server.engines.torch.wire import (
    MAX_WINDOWS,
    Aligned,
    AlignTask,
    Answer,
    DecodedTokens,
    DecodeTask,
    Detected,
    DetectTask,
    Ready,
    Stop,
    Task,
    WorkerConfig,
)
from whisper_server.http.live import session_processes
from whisper_server.memory.budget import MemoryBudget
from whisper_server.metrics import Metrics
from whisper_server.serve import run
from whisper_server.service import Backend
from whisper_server.settings import Settings
from whisper_server.whisper.constants import POSITION_S, SAMPLE_RATE_HZ

PASS_S = float(os.environ.get("PACED_PASS_S", "0.25"))
"""Of a live window. 200 sessions of turbo's shape on an H200 get a pass every 0.45 s of speech; passes take more than 0.2 s."""
LOCAL_SESSIONS = int(os.environ.get("PACED_LOCAL_SESSIONS", str(session_processes.LOCAL_SESSIONS)))
"""Sessions in the server's process; 2 of 40 are as many as 8 of 160."""
STEP_S = 0.01
"""Answers of so much time come as one message."""
TOKENS_PER_S = 4
BEHIND = (12, 8, 5, 3)
"""Tokens by which the place in the text is found, the most first."""
SURE, UNSURE = -0.1, -1.2
"""Log-probabilities; one word of five is unsure, so that half of the texts are doubtful."""
NOUNS = ("boats", "nets", "ropes", "sails", "lamps", "crates", "barrels", "masts", "oars", "flags")
VERBS = ("left", "passed", "found", "painted", "sold", "carried", "counted", "repaired")


def spoken() -> str:
    """A long text that repeats no four words in a row."""
    sentences = (
        f"They {verb} {number} {noun}, and then {number * 7 + 3} more {other}."
        for number, (verb, noun, other) in enumerate(itertools.product(VERBS, NOUNS, NOUNS), start=11)
    )
    return " " + " ".join(sentences)


class Speaker:
    """What the windows say."""

    def __init__(self) -> None:
        files = read_model_files(DEMO)
        self._vocabulary = files.vocabulary
        self._tokens = files.tokenizer.encode_text(spoken())
        n = len(self._tokens)
        self._behind = {self._tokens[at - many : at]: at for many in BEHIND for at in range(n - 1, many - 1, -1)}
        """Where the text goes on behind some tokens."""
        self._by_language = (0.0, *(-9.0,) * (len(self._vocabulary.languages) - 1))

    def answer(self, task: Task, n_samples: int) -> Answer:
        if isinstance(task, DetectTask):
            return Detected(task.task_id, self._by_language)
        if isinstance(task, AlignTask):
            n_tokens = len(task.text_tokens)
            starts_s = tuple(round(task.n_positions * POSITION_S * at / n_tokens, 2) for at in range(n_tokens + 1))
            return Aligned(task.task_id, starts_s, (0.5,) * n_tokens)
        text = [token for token in task.prompt if token < self._vocabulary.endoftext]
        n_prefix = sum(token < self._vocabulary.endoftext for token in task.prompt[-task.n_task_tokens :])
        n_new = max(1, min(TOKENS_PER_S * n_samples // SAMPLE_RATE_HZ - n_prefix, task.max_new_tokens - 1))
        places = (self._behind.get(tuple(text[-many:])) for many in BEHIND)
        first = next((place for place in places if place is not None), 0)
        tokens = (*self._tokens[first : first + n_new], self._vocabulary.endoftext)
        return DecodedTokens(task.task_id, tokens, tuple(SURE if token % 5 else UNSURE for token in tokens), -9.0)


def run_worker(connection: Connection, config: WorkerConfig) -> None:
    """The engine's process."""
    pool = SharedAudioPool.opened(config.audio_pool_pid, config.audio_pool_descriptor, MAX_WINDOWS)
    speaker, order = Speaker(), itertools.count()
    connection.send(Ready("none", "float32", MAX_WINDOWS))
    due: list[tuple[float, int, Answer]] = []
    while True:
        if connection.poll(STEP_S if due else None):
            for request in connection.recv():
                if isinstance(request, Stop):
                    return
                if isinstance(request, DetectTask | DecodeTask | AlignTask):
                    n_samples = n_written(pool.samples[request.place.slot])
                    at_s = time.monotonic() + (PASS_S if isinstance(request, DecodeTask) else 0.0)
                    heapq.heappush(due, (at_s, next(order), speaker.answer(request, n_samples)))
            time.sleep(STEP_S / 2)
        answers = []
        while due and due[0][0] <= time.monotonic():
            answers.append(heapq.heappop(due)[2])
        if answers:
            connection.send(tuple(answers))


def n_written(slot: npt.NDArray[np.int16]) -> int:
    """Samples of a window, to a hundredth of a second; behind them it is silent."""
    heard = np.flatnonzero(slot[:: SAMPLE_RATE_HZ // 100])
    return (int(heard[-1]) + 1) * (SAMPLE_RATE_HZ // 100) if len(heard) else 0


class PacedEngine(TorchEngine):
    """Counts what it is asked."""

    def __init__(self, config: TorchConfig, on_pass: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_pass = on_pass

    async def ask(self, task: Task) -> Answer:
        if isinstance(task, DecodeTask):
            self._on_pass()
        return await super().ask(task)


@asynccontextmanager
async def load(settings: Settings, metrics: Metrics, _budget: MemoryBudget) -> AsyncIterator[Backend]:
    """As `backend.load_backend`, but with the paced engine, and open to a profiler."""
    torch_engine._run_worker = run_worker  # noqa: SLF001
    session_processes.LOCAL_SESSIONS = LOCAL_SESSIONS
    files = read_model_files(DEMO)
    passes = metrics.counter("paced_passes", "Windows that were decoded")
    engine = PacedEngine(TorchConfig("paced", files, DType.FLOAT32, 0.9, 1), passes.inc)
    await engine.start()
    async with backend_of(engine, files.tokenizer, settings, metrics) as backend:
        yield backend


if __name__ == "__main__":
    sys.exit(run(Settings.from_env(os.environ), load))

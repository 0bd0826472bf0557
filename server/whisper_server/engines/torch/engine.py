"""The server's side of the torch engine: its process, the shared memory, and the answers that requests wait for."""

from __future__ import annotations

import asyncio
import itertools
import logging
import multiprocessing
import os
import select
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from whisper_runtime.choices import DType
from whisper_server.engines.gpu.model_files import ModelFiles
from whisper_server.engines.gpu.shared_audio import SharedAudioPool
from whisper_server.engines.torch.batches import MAX_LIVE_WINDOWS, encoder_frames
from whisper_server.engines.torch.pending_answers import PendingAnswers
from whisper_server.engines.torch.window import TorchWindow
from whisper_server.engines.torch.wire import (
    MAX_WINDOWS,
    Answer,
    Cancel,
    Place,
    Ready,
    Report,
    Request,
    StartFailed,
    Stop,
    Task,
    TaskFailed,
    WorkerConfig,
)
from whisper_server.errors import ENGINE_DEAD, InternalError, StartError, Unavailable
from whisper_server.whisper.engine_protocol import ModelFacts
from whisper_server.whisper.transcript import Samples

logger = logging.getLogger(__name__)
STOP_LIMIT_S = 5.0  # then the engine's process is killed
DEATH = "The engine is dead: the torch engine's process has died."
MESSAGES_PER_ITERATION = 16
"""Each takes 0.05 ms. The engine's process must not wait to send: the pipe holds 60 answers with alignments."""


@dataclass(frozen=True)
class TorchConfig:
    """How the engine runs."""

    model_id: str
    files: ModelFiles
    dtype: DType
    memory_utilization: float
    n_threads: int
    fp8_encoder: bool = False
    """TORCH_LINEAR_DTYPE=fp8."""
    fp8_cache: bool = False
    """VLLM_KV_CACHE_DTYPE=fp8."""


class TorchEngine:
    """Implements the Engine protocol."""

    def __init__(self, config: TorchConfig) -> None:
        self._config = config
        self._audio_pool = SharedAudioPool.create(MAX_WINDOWS)
        self._ids = itertools.count()
        self._pending = PendingAnswers()
        self._outbox: list[Request] = []
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None
        self._arrivals = select.poll()
        self._started: asyncio.Future[Report] | None = None
        self._ready: Ready | None = None
        self._is_stopped = False
        self._is_dead = False

    @property
    def files(self) -> ModelFiles:
        """The checkpoint."""
        return self._config.files

    @property
    def facts(self) -> ModelFacts:
        """Known once started."""
        assert self._ready is not None, "the engine has not started"
        return ModelFacts(
            model_id=self._config.model_id,
            engine="torch",
            dtype=self._ready.dtype,
            device=self._ready.device,
            is_multilingual=self.files.is_multilingual,
            n_text_positions=self.files.shape.n_text_positions,
            n_windows_in_flight=self._ready.n_slots,
            max_live_windows=MAX_LIVE_WINDOWS,
        )

    async def start(self) -> None:
        """Start the engine's process, wait until the model is loaded. Raises StartError."""
        loop = asyncio.get_running_loop()
        self._started = loop.create_future()
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_run_worker, args=(theirs, self._worker_config()), name="whisper-torch")
        await asyncio.to_thread(self._process.start)
        theirs.close()
        self._arrivals.register(self._connection, select.POLLIN)
        loop.add_reader(self._connection.fileno(), self._receive, self._connection)
        report = await self._started
        if isinstance(report, StartFailed):
            raise StartError(report.message)
        assert isinstance(report, Ready)
        self._ready = report
        self._audio_pool.limit(report.n_slots)

    async def stop(self) -> None:
        """End the process; what waits gets Unavailable."""
        self._is_stopped = True
        self._pending.fail_all(Unavailable("The server is shutting down."))
        process, self._process = self._process, None
        if process is not None:
            self._outbox.append(Stop())
            self._flush()
            await asyncio.to_thread(process.join, STOP_LIMIT_S if self._ready else 0.0)
            if process.is_alive():
                process.kill()
                await asyncio.to_thread(process.join)
        connection, self._connection = self._connection, None
        if connection is not None:
            asyncio.get_running_loop().remove_reader(connection.fileno())
            connection.close()
        self._audio_pool.close()

    def health(self) -> str | None:
        """None while the engine lives; else what is wrong with it."""
        if self._is_stopped:
            return "the engine has stopped"
        if self._is_dead:
            return "the torch engine's process has died"
        return "the model is still loading" if self._ready is None else None

    def open_window(
        self,
        samples: Samples,
        *,
        owner: str = "",  # noqa: ARG002 - of the Protocol
        is_live: bool = False,
        timestamps: bool = True,
    ) -> TorchWindow:
        """A window of at most 30 s; nothing is computed yet. All windows in flight advance together, so no turns."""
        n_mel_frames = encoder_frames(len(samples), may_be_short=is_live or not timestamps)
        return TorchWindow(self, samples, n_mel_frames, is_live=is_live)

    def next_id(self) -> int:
        """For a task or a window."""
        return next(self._ids)

    async def acquire(self, samples: Samples, n_mel_frames: int, *, is_live: bool) -> Place:
        """The lowest free slot, with the samples written into it; those of a live window take 0.1 ms."""
        slot = await self._audio_pool.acquire()
        written = self._audio_pool.write(slot, samples) if is_live else await self._audio_pool.fill(slot, samples)
        return Place(self.next_id(), slot, written.scale, is_live, n_mel_frames)

    def release(self, slot: int) -> None:
        """To be used by another window."""
        self._audio_pool.release(slot)

    async def ask(self, task: Task) -> Answer:
        """The answer to a task. Raises Unavailable, InternalError; a cancelled call cancels the task."""
        self._check_alive()
        future = self._pending.expect(task.task_id)
        self._send(task)
        try:
            answer = await future
        except asyncio.CancelledError:
            self._send(Cancel(task.task_id))
            raise
        finally:
            self._pending.forget(task.task_id)
        if isinstance(answer, TaskFailed):
            raise InternalError(answer.message)
        return answer

    def _check_alive(self) -> None:
        if self._is_stopped:
            raise Unavailable("The server is shutting down.")
        if self._is_dead:
            raise Unavailable(DEATH, code=ENGINE_DEAD)

    def _send(self, request: Request) -> None:
        """With all others of this iteration of the event loop, as one message."""
        if not self._outbox:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outbox.append(request)

    def _flush(self) -> None:
        batch, self._outbox = tuple(self._outbox), []
        if self._connection is not None:
            with suppress(OSError):  # the reader notices that the process is gone
                self._connection.send(batch)

    def _receive(self, connection: Connection) -> None:
        """Messages, each there as a whole (`worker.ANSWERS_PER_MESSAGE`). A thread would take the loop's lock for each."""
        try:
            for _ in range(MESSAGES_PER_ITERATION):
                self._deliver(connection.recv())
                if not self._arrivals.poll(0):
                    break
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(connection.fileno())
            self._lose()

    def _deliver(self, report: Report) -> None:
        if not isinstance(report, Ready | StartFailed):
            self._pending.deliver(report)
        elif self._started is not None and not self._started.done():
            self._started.set_result(report)

    def _lose(self) -> None:
        self._is_dead = True
        if self._started is not None and not self._started.done():
            self._started.set_result(
                StartFailed("ENGINE: the torch engine's process has died while it loaded the model")
            )
        if not self._is_stopped:
            logger.error("The torch engine's process has died")
        self._pending.fail_all(Unavailable(DEATH, code=ENGINE_DEAD))

    def _worker_config(self) -> WorkerConfig:
        files = self._config.files
        return WorkerConfig(
            folder=files.folder,
            shape=files.shape,
            vocabulary=files.vocabulary,
            alignment_heads=files.alignment_heads,
            dtype=self._config.dtype,
            memory_utilization=self._config.memory_utilization,
            n_threads=self._config.n_threads,
            fp8_encoder=self._config.fp8_encoder,
            fp8_cache=self._config.fp8_cache,
            audio_pool_pid=os.getpid(),
            audio_pool_descriptor=self._audio_pool.descriptor,
        )


def _run_worker(connection: Connection, config: WorkerConfig) -> None:
    """In the engine's process: torch is imported there only."""
    from whisper_server.engines.torch.worker import run

    run(connection, config)

"""What serves at this moment: nothing yet, a loaded model, a dead engine, or a server on its way out.

Also the Protocols of the parts that routes put together, so that a test can hand in ones that fail or stall.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from whisper_server.audio.memory_file import MemoryFile
from whisper_server.errors import Unavailable
from whisper_server.memory_budget import Reservation
from whisper_server.whisper.engine_protocol import Engine
from whisper_server.whisper.transcript import Options, Samples, Transcript, WindowTranscript


class Sound(Protocol):
    """A decoded recording; a context manager that frees it."""

    @property
    def samples(self) -> Samples: ...

    @property
    def duration_s(self) -> float: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Decoder(Protocol):
    """Files to samples."""

    async def read_audio(self, source: MemoryFile, reservation: Reservation) -> Sound:
        """Raises ApiError; a cancelled call stops the work. The reservation is released with the sound."""


class Transcription(Protocol):
    """One recording in the pipeline; leaving it ends its work."""

    def windows(self) -> AsyncIterator[WindowTranscript]:
        """In order, each as soon as it is accepted."""

    async def transcript(self) -> Transcript:
        """All of it."""

    def assemble(self, windows: Sequence[WindowTranscript]) -> Transcript:
        """All of it, after `windows` came to its end."""


class Pipeline(Protocol):
    """Samples to transcripts."""

    def open(self, samples: Samples, options: Options) -> AbstractAsyncContextManager[Transcription]:
        """No work yet."""

    def queued_audio_s(self) -> float: ...

    def estimated_wait_s(self) -> float: ...


@dataclass(frozen=True)
class Backend:
    """A loaded model with all that it takes to use it."""

    engine: Engine
    pipeline: Pipeline
    decoder: Decoder


class Loading(Unavailable):
    """The model is on its way; worth another try soon."""

    code = "loading"

    def headers(self) -> dict[str, str]:
        return {"Retry-After": "10"}


class Draining(Unavailable):
    """Going down."""

    code = "draining"


class Service:
    """The backend, once there is one, and whether new work is welcome."""

    def __init__(self) -> None:
        self._backend: Backend | None = None
        self.draining = False
        """SIGTERM came: requests are served, but the readiness probe sends new ones elsewhere."""

    def load(self, backend: Backend) -> None:
        """From now on this one serves."""
        self._backend = backend

    @property
    def is_loaded(self) -> bool:
        return self._backend is not None

    def backend(self) -> Backend:
        """Raises Unavailable while there is none that lives."""
        if self._backend is None:
            raise Loading("The model is being loaded. Try again in a moment.")
        self.check_alive()
        return self._backend

    def check_alive(self) -> None:
        """Raises Unavailable where the engine is dead: only a restart helps."""
        problem = None if self._backend is None else self._backend.engine.health()
        if problem is not None:
            raise Unavailable(f"The engine is dead: {problem}", code="engine_dead")

    @property
    def is_up(self) -> bool:
        """Loaded and alive."""
        return self._backend is not None and self._backend.engine.health() is None

    def check_ready(self) -> None:
        """Raises Unavailable with the reason why no new work should come here."""
        if self.draining:
            raise Draining("The server is going down; it finishes what it has.")
        self.backend()

    def queued_audio_s(self) -> float:
        """Sound waiting or running; 0 before there is a model."""
        return 0.0 if self._backend is None else self._backend.pipeline.queued_audio_s()

    def estimated_wait_s(self) -> float:
        """For a request that comes now."""
        return 0.0 if self._backend is None else self._backend.pipeline.estimated_wait_s()

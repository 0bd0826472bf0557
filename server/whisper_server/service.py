"""The state of the service: model loading, ready, engine dead, or draining.

Also the Protocols of what the routes combine, so that a test can pass implementations that fail or stall.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from whisper_server.audio.channels import ChannelDecoder
from whisper_server.diarization.diarizer import SpeakerQuestion
from whisper_server.errors import ENGINE_DEAD, Draining, ModelLoading, Unavailable
from whisper_server.live.speech_protocol import LiveSpeech
from whisper_server.memory.budget import Reservation
from whisper_server.whisper.engine_protocol import Engine
from whisper_server.whisper.speakers import Turn
from whisper_server.whisper.transcript import Options, Samples, Transcript, WindowTranscript


class Decoder(ChannelDecoder, Protocol):
    """Decodes files to samples, and knows what waits for it."""

    def queued_audio_s(self) -> float:
        """Sound that waits or is being decoded; what is dear to decode counts more."""

    def estimated_wait_s(self, owner: str) -> float:
        """Expected wait of a file that `owner` sends now."""


class Transcription(Protocol):
    """One recording in the pipeline; leaving it cancels its work."""

    def windows(self) -> AsyncIterator[WindowTranscript]:
        """The windows in order, each as soon as it is accepted."""

    async def transcript(self) -> Transcript:
        """The whole transcript."""

    def assemble(self, windows: Sequence[WindowTranscript]) -> Transcript:
        """The whole transcript, after `windows` has ended."""


class Pipeline(Protocol):
    """Turns samples into transcripts."""

    def transcribe(
        self, samples: Samples, options: Options, owner: str = ""
    ) -> AbstractAsyncContextManager[Transcription]:
        """A transcription that has not started."""

    def queued_audio_s(self) -> float: ...

    def estimated_wait_s(self, owner: str = "", audio_s: float = 0.0) -> float:
        """Expected wait of a recording that `owner` sends now."""

    def work_s(self, audio_s: float) -> float:
        """Expected time that a recording takes alone; 0 if it is not known."""


class Diarizer(Protocol):
    """Finds speakers and their turns."""

    async def turns(
        self, samples: Samples, question: SpeakerQuestion, owner: str, new_reservation: Callable[[], Reservation]
    ) -> tuple[Turn, ...]:
        """The turns by start. Raises ApiError; a cancelled call stops the work."""


@dataclass(frozen=True)
class Backend:
    """A loaded model with its pipeline and decoder."""

    engine: Engine
    pipeline: Pipeline
    decoder: Decoder
    live: LiveSpeech
    """Windows of realtime sessions."""
    diarizer: Diarizer | None = None
    """None: DIARIZATION is off."""


class Service:
    """The backend after it is loaded, and whether the server drains."""

    def __init__(self) -> None:
        self._backend: Backend | None = None
        self.draining = False
        """After SIGTERM: requests are still served, but the readiness probe fails so that new ones go elsewhere."""
        self.closing = asyncio.Event()
        """After that, when nothing new arrives: realtime sessions end, whose clients connect again to another server."""

    def load(self, backend: Backend) -> None:
        """Serve with this backend from now on."""
        self._backend = backend

    @property
    def is_loaded(self) -> bool:
        return self._backend is not None

    def backend(self) -> Backend:
        """Raises Unavailable while no engine is alive."""
        if self._backend is None:
            raise ModelLoading("The model is being loaded. Try again in a moment.")
        self.check_alive()
        return self._backend

    def check_alive(self) -> None:
        """Raises Unavailable if the engine is dead; only a restart helps."""
        problem = None if self._backend is None else self._backend.engine.health()
        if problem is not None:
            raise Unavailable(f"The engine is dead: {problem}", code=ENGINE_DEAD)

    @property
    def is_up(self) -> bool:
        """Loaded and alive."""
        return self._backend is not None and self._backend.engine.health() is None

    def check_ready(self) -> None:
        """Raises Unavailable with the reason if new requests should go elsewhere."""
        if self.draining:
            raise Draining("The server is shutting down; it finishes the requests that it has.")
        self.backend()

    def queued_audio_s(self) -> float:
        """Seconds of audio queued or running at the decoders and at the engine; 0 before the model is loaded."""
        return self.decode_audio_s() + (0.0 if self._backend is None else self._backend.pipeline.queued_audio_s())

    def live_window_s(self) -> float:
        """Seconds per window while the engine is busy; 0 before it was measured."""
        return 0.0 if self._backend is None else self._backend.live.window_s()

    def decode_audio_s(self) -> float:
        """The part of it that is not decoded yet."""
        return 0.0 if self._backend is None else self._backend.decoder.queued_audio_s()

    def estimated_wait_s(self, owner: str = "") -> float:
        """Expected wait of a clip that `owner` sends now, at both stages."""
        engine_wait_s = 0.0 if self._backend is None else self._backend.pipeline.estimated_wait_s(owner)
        return self.decode_wait_s(owner) + engine_wait_s

    def decode_wait_s(self, owner: str = "") -> float:
        """The part of it at the decoders."""
        return 0.0 if self._backend is None else self._backend.decoder.estimated_wait_s(owner)

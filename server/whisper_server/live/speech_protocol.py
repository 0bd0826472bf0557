"""What a live session needs of the pipeline, as Protocols: a test passes doubles that stall or fail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import numpy as np
import numpy.typing as npt

from whisper_server.speech.live_windows import LiveTranscript, Turns, WindowRequest
from whisper_server.whisper.transcript import Options, Samples

Transcribe = Callable[[Samples, WindowRequest], Awaitable[LiveTranscript]]
"""One pass over a window. Raises ApiError."""


class Voice(Protocol):
    """The voice detector on one stream."""

    def add(self, samples: Samples) -> npt.NDArray[np.float32]:
        """Probabilities of speech of the frames that are whole now. Computes for 5 ms per second of sound."""


class VoiceStream(Protocol):
    """The same for a loop that has other work."""

    async def add(self, samples: Samples) -> npt.NDArray[np.float32]:
        """As `Voice.add`. One call at a time."""


class SpeechFacts(Protocol):
    """What a session finds out without the engine (`speech.live_facts`)."""

    @property
    def frame_samples(self) -> int:
        """Of the voice detector."""

    @property
    def max_window_samples(self) -> int:
        """The longest window that is transcribed."""

    def check_options(self, options: Options) -> None:
        """Raises BadRequest for a language that the model lacks."""

    @property
    def has_free_logprobs(self) -> bool:
        """A pass with the log-probabilities of its tokens costs no more than one without."""

    def n_tokens(self, text: str) -> int:
        """Of the model's tokenizer."""

    def new_voice(self) -> Voice:
        """A detector at the start of a stream."""


class LiveSpeech(Protocol):
    """Speech to text, a window at a time (`speech.live_windows`)."""

    @property
    def facts(self) -> SpeechFacts:
        """Of the model."""

    def voice_stream(self, turns: Turns) -> VoiceStream:
        """A detector at the start of a stream."""

    async def turn_end(self, samples: Samples, turns: Turns) -> float:
        """The probability that a turn is over that ends with this sound. Raises ApiError."""

    def slot(self, turns: Turns) -> AbstractAsyncContextManager[Transcribe]:
        """Wait until the engine has time for one pass: which sound it hears is chosen only then. One at a time."""

    @property
    def pass_s(self) -> float:
        """Seconds that passes take, from where they wait for a slot, the mean of the last ones."""

    def window_s(self) -> float:
        """Seconds per window while the engine is busy; 0: not measured yet."""

"""The voice detector follows the sound that arrives: step by step, while more is read, and never far behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import numpy.typing as npt

from whisper_server.live.sample_buffer import SampleBuffer
from whisper_server.live.speech_protocol import VoiceStream
from whisper_server.whisper.constants import SAMPLE_RATE_HZ

MAX_STEP = SAMPLE_RATE_HZ
"""Samples that the voice detector hears at a time."""
MIN_DECODED_S = 0.15
"""Decoded at a time, and heard. The voice detector takes 10 ms of CPU per second of sound in steps of 0.1 s, 6.6 in steps of 0.2 s, 5 in
steps of a second."""
MIN_STEP = SAMPLE_RATE_HZ * 8 // 100
"""Less waits for more: all that the resampler leaves of a step that is decoded is heard."""
MAX_UNHEARD = 2 * SAMPLE_RATE_HZ
"""Samples that wait for the voice detector, before the client has to wait, too."""


class Hearing:
    """Of one session. Positions are those of its buffer."""

    def __init__(
        self, voice: VoiceStream, buffer: SampleBuffer, on_heard: Callable[[npt.NDArray[np.float32]], Awaitable[None]]
    ) -> None:
        """`on_heard` takes the probabilities of speech of the frames that are whole, in order; the next step waits for it."""
        self._voice = voice
        self._buffer = buffer
        self._on_heard = on_heard
        self._given = self._heard_until = buffer.end
        """The end of the sound that the voice detector has been given, and of what it has answered."""
        self._hurried_until = 0
        """`catch_up` waits until this is heard: in short steps, too."""
        self._more = asyncio.Event()
        self._heard = asyncio.Event()
        """Of the next step; each has its own."""

    async def run(self) -> None:
        """Loop: hear what has arrived, a step at a time, until cancelled. Raises ApiError."""
        while True:
            if self._n_unheard >= (1 if self._given < self._hurried_until else MIN_STEP):
                await self._step()
            else:
                self._more.clear()
                await self._more.wait()

    async def grown(self) -> None:
        """Take note of more sound in the buffer. Waits while much is unheard."""
        if self._n_unheard >= MIN_STEP:
            self._more.set()
        while self._n_unheard > MAX_UNHEARD:
            await self._heard.wait()

    async def catch_up(self) -> None:
        """Wait until all that is in the buffer now is heard."""
        end = self._hurried_until = self._buffer.end
        self._more.set()
        while self._heard_until < end:
            await self._heard.wait()

    @property
    def _n_unheard(self) -> int:
        return self._buffer.end - self._given

    async def _step(self) -> None:
        samples = self._buffer.between(self._given, self._given + MAX_STEP)
        self._given += len(samples)
        probabilities = await self._voice.add(samples)
        await self._on_heard(probabilities)
        self._heard_until = self._given
        self._heard.set()
        self._heard = asyncio.Event()

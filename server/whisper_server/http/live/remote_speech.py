"""Speech and account of one session in a process of sessions, which asks the server's process for both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from whisper_server.errors import ApiError
from whisper_server.http.live.session_messages import (
    Count,
    Counted,
    Delay,
    Open,
    Pace,
    Pass,
    PassDone,
    Refused,
    Release,
    Slot,
    SlotHeld,
    TurnEnd,
    TurnEndDone,
)
from whisper_server.http.live.session_wire import SharedSound, Wire
from whisper_server.live.speech_protocol import SpeechFacts, Transcribe, Voice
from whisper_server.speech.live_windows import LiveTranscript, Turns, WindowRequest
from whisper_server.speech.turn_end import MAX_SAMPLES as TURN_END_SAMPLES
from whisper_server.speech.vad import Probabilities
from whisper_server.whisper.transcript import Samples

COUNT_S = 1.0
"""Sound that is counted at a time: each frame would cost the server's process a message."""
Result = TypeVar("Result")


class RemoteSpeech:
    """Speech to text by the server's process. The voice detector is here, and the model's tokenizer."""

    def __init__(self, facts: SpeechFacts, opened: Open, wire: Wire, sound: SharedSound) -> None:
        self.facts = facts
        self._opened = opened
        self._wire = wire
        self._sound = sound
        self._pace: Pace = opened.pace
        self._slot: asyncio.Future[None] | None = None
        self._has_slot = False
        """And has made no pass in it."""
        self._pass: asyncio.Future[LiveTranscript] | None = None
        self._turn_end: asyncio.Future[float] | None = None

    def voice_stream(self, turns: Turns) -> InlineVoice:
        """A detector at the start of the session's stream."""
        del turns
        return InlineVoice(self.facts.new_voice())

    async def turn_end(self, samples: Samples, turns: Turns) -> float:
        """As `LiveWindows.turn_end`. One call at a time."""
        del turns
        samples = samples[-TURN_END_SAMPLES:]
        self._sound.turn_end(self._opened.place, len(samples))[:] = samples
        self._turn_end = asyncio.get_running_loop().create_future()
        self._wire.send(TurnEnd(self._opened.number, len(samples)))
        return await self._turn_end

    @asynccontextmanager
    async def slot(self, turns: Turns) -> AsyncIterator[Transcribe]:
        """As `LiveWindows.slot`. One at a time. If it is cancelled, the session is over, and the server's process frees the slot."""
        self._slot = asyncio.get_running_loop().create_future()
        self._wire.send(Slot(self._opened.number, turns.is_urgent))
        await self._slot
        self._has_slot = True
        try:
            yield self._transcribe
        finally:
            if self._has_slot:
                self._has_slot = False
                self._wire.send(Release(self._opened.number))

    async def _transcribe(self, samples: Samples, request: WindowRequest) -> LiveTranscript:
        self._has_slot = False  # its end is that of the pass
        self._sound.window(self._opened.place, len(samples))[:] = samples
        self._pass = asyncio.get_running_loop().create_future()
        self._wire.send(Pass(self._opened.number, len(samples), request))
        return await self._pass

    @property
    def pass_s(self) -> float:
        """Seconds that passes take, the mean of the last ones."""
        return self._pace.pass_s

    def window_s(self) -> float:
        """Seconds per window while the engine is busy; 0: not measured yet."""
        return self._pace.window_s

    def take(self, message: SlotHeld | PassDone | TurnEndDone) -> None:
        """What the server's process has answered."""
        match message:
            case SlotHeld(_, pace):
                self._pace = pace
                _answer(self._slot, None)
            case PassDone(_, result, pace):
                self._pace = pace
                _answer(self._pass, result)
            case TurnEndDone(_, result):
                _answer(self._turn_end, result)


class InlineVoice:
    """The voice detector in the loop itself: a process of sessions has no other work, and 7 ms per second of sound are less than
    the ways to a thread and back.
    """

    def __init__(self, voice: Voice) -> None:
        self._voice = voice

    async def add(self, samples: Samples) -> Probabilities:
        """As `VoiceStream.add`. Other sessions come in between."""
        await asyncio.sleep(0)
        return self._voice.add(samples)


class RemoteAccount:
    """Counts sound, and lets the server's process count it once in a while."""

    def __init__(self, number: int, wire: Wire) -> None:
        self._number = number
        self._wire = wire
        self._n_bytes = 0
        self._counted: asyncio.Future[None] | None = None
        self.uncounted_s = 0.0
        """Sound that the server's process has not counted yet."""

    async def count(self, audio_s: float, n_bytes: int) -> None:
        """As `Account.count`. Other bytes are asked for before they are used; sound is counted once a second."""
        self.uncounted_s += audio_s
        if self.uncounted_s < COUNT_S and n_bytes == self._n_bytes:
            return
        self._wire.send(Count(self._number, self.uncounted_s, n_bytes))
        self.uncounted_s, self._n_bytes = 0.0, n_bytes
        self._counted = asyncio.get_running_loop().create_future()
        await self._counted

    def note_delay(self, delay_s: float) -> None:
        self._wire.send(Delay(self._number, delay_s))

    def note_refusal(self, error: ApiError) -> None:
        self._wire.send(Refused(self._number, error))

    def take(self, message: Counted) -> None:
        """What the server's process has answered."""
        _answer(self._counted, message.refusal)


def _answer(asked: asyncio.Future[Result] | None, result: Result | ApiError) -> None:
    if asked is None or asked.done():  # the session is over
        return
    if isinstance(result, ApiError):
        asked.set_exception(result)
    else:
        asked.set_result(result)

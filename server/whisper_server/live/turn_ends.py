"""Whether a turn is over at a pause: for sessions with `semantic_vad`, whose end-of-turn detector hears each pause once."""

from __future__ import annotations

from collections.abc import Callable

from whisper_server.live.sample_buffer import SampleBuffer
from whisper_server.live.session_options import TurnRules
from whisper_server.live.speech_protocol import LiveSpeech
from whisper_server.live.turn import Turn
from whisper_server.live.turn_detection import SpeechSpans
from whisper_server.speech.live_windows import Turns
from whisper_server.speech.turn_end import MAX_SAMPLES
from whisper_server.whisper.constants import SAMPLE_RATE_HZ

PAUSE_SAMPLES = SAMPLE_RATE_HZ // 4
"""Of silence, after which the detector is asked: it was trained on pauses from 0.2 s on."""


class TurnEnds:
    """Of one session."""

    def __init__(self, speech: LiveSpeech, buffer: SampleBuffer, turns_of: Callable[[], Turns]) -> None:
        self._speech = speech
        self._buffer = buffer
        self._turns_of = turns_of
        self._heard_pause = -1
        """Where the pause began that was heard last."""

    async def is_complete(self, turn: Turn, spans: SpeechSpans, rules: TurnRules) -> bool:
        """Whether the turn sounds complete; asked once in a pause. Raises ApiError."""
        pause = spans.at - spans.silent_samples
        if rules.turn_end_from is None or not spans.is_speaking or spans.silent_samples < PAUSE_SAMPLES:
            return False
        if pause == self._heard_pause:
            return False
        self._heard_pause = pause
        sound = self._buffer.between(max(turn.start, spans.at - MAX_SAMPLES), spans.at)
        return await self._speech.turn_end(sound, self._turns_of()) >= rules.turn_end_from

    def needs_from(self, turn: Turn | None, spans: SpeechSpans, rules: TurnRules) -> int:
        """The first sample that the detector may still hear: of pieces that are transcribed, too."""
        if turn is None or rules.turn_end_from is None:
            return spans.at
        return max(turn.start, spans.at - MAX_SAMPLES)

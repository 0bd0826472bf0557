"""The sound of a session: decoded, heard by the voice detector, and divided into turns and pieces.

Emits the events of the input buffer. The words of a turn are `turn_transcription`'s part.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from whisper_server.api.realtime_server_events import (
    Cleared,
    Committed,
    ItemCreated,
    ServerEvent,
    SpeechBegan,
    SpeechEnded,
)
from whisper_server.audio.live_samples import LiveSamples, RawFormat
from whisper_server.errors import BadRequest
from whisper_server.live.hearing import MIN_DECODED_S, Hearing
from whisper_server.live.said import MAX_SAMPLES
from whisper_server.live.sample_buffer import SampleBuffer
from whisper_server.live.session_options import TurnRules
from whisper_server.live.speech_protocol import LiveSpeech
from whisper_server.live.turn import Piece, Turn
from whisper_server.live.turn_detection import SpeechSpans, SpeechStarted, ms_of
from whisper_server.live.turn_ends import TurnEnds
from whisper_server.speech.live_windows import Turns
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Options, Samples

MIN_COMMIT_S = 0.1  # as OpenAI has it


class Listening:
    """Turns and their sound. Positions are samples of 16 kHz since the session began."""

    def __init__(
        self,
        speech: LiveSpeech,
        rules: TurnRules,
        options: Options,
        *,
        turns_of: Callable[[], Turns],
        emit: Callable[[ServerEvent], None],
        clock: Callable[[], float],
    ) -> None:
        self.buffer = SampleBuffer()
        self.untranscribed_from = 0  # before this sample there is only context
        self.turns: deque[Turn] = deque()
        """Open and committed ones that are not transcribed yet."""
        self.options = options  # of turns that begin from now on
        self._speech, self._rules = speech, rules
        self._emit, self._clock = emit, clock
        self._decoder = LiveSamples(RawFormat.PCM, MIN_DECODED_S)
        self.hearing = Hearing(speech.voice_stream(turns_of()), self.buffer, self._hear)
        self._turn_ends = TurnEnds(speech, self.buffer, turns_of)
        self.spans = self._new_spans(0)
        self._previous_item_id: str | None = None
        self._changed = asyncio.Event()

    @property
    def open_turn(self) -> Turn | None:
        """The turn that is not committed."""
        return self.turns[-1] if self.turns and self.turns[-1].end is None else None

    @property
    def commits_turns(self) -> bool:
        """Turns end by the client's commit only."""
        return self._rules.turn_silence_ms is None

    async def changed(self) -> None:
        """Wait for the next change of sound or turns."""
        await self._changed.wait()

    def notify(self) -> None:
        """Something has changed."""
        self._changed.set()
        self._changed = asyncio.Event()

    def age_s(self, sample: int) -> float:
        """Seconds since this sample arrived; 0 if it is no longer held."""
        return self.buffer.age_s(sample, self._clock())

    def configure(self, rules: TurnRules, raw_format: RawFormat, options: Options) -> None:
        """Other rules or another format from now on. The turn under way is committed if its rules change."""
        self.options = options
        if raw_format is not self._decoder.raw_format:
            self.buffer.append(self._decoder.flush(), self._clock())
            self._decoder = LiveSamples(raw_format, MIN_DECODED_S)
        if rules != self._rules:
            self.close()
            self._rules = rules
            self.spans = self._new_spans(self.spans.at)

    async def append(self, data: bytes) -> None:
        """Take more sound, which `hearing` hears. Waits while much is unheard."""
        for samples in self._decoder.steps(data, self._clock()):
            await self._take(samples)

    async def catch_up(self) -> None:
        """Wait until all sound that has arrived by now is heard."""
        await self._take(self._decoder.rest())
        await self.hearing.catch_up()

    async def _take(self, samples: Samples) -> None:
        if len(samples):
            if self.commits_turns and self.open_turn is None:
                self._begin_turn(self.buffer.end)
            self.buffer.append(samples, self._decoder.arrived_s)
            await self.hearing.grown()

    def commit(self) -> None:
        """End the turn under way, as the client asks. Raises BadRequest if there is nothing to commit."""
        self.buffer.append(self._decoder.flush(), self._clock())
        turn = self.open_turn
        start = self.spans.keep_from if turn is None else turn.start
        held_ms = (self.buffer.end - start) * 1000 / SAMPLE_RATE_HZ
        if held_ms < MIN_COMMIT_S * 1000:
            raise BadRequest(
                "Error committing input audio buffer: buffer too small. Expected at least "
                f"{MIN_COMMIT_S * 1000:.0f}ms of audio, but buffer only has {held_ms:.2f}ms of audio.",
                code="input_audio_buffer_commit_empty",
            )
        self._end_turn(turn or self._begin_turn(start), self.buffer.end)

    def clear(self) -> None:
        """Forget what is not committed, and what the decoder holds back of it."""
        self._decoder.flush()
        if (turn := self.open_turn) is not None:
            self._drop(turn)
        self.spans.reset(self.buffer.end)
        self._emit(Cleared())

    def close(self) -> None:
        """Commit what there is of a turn under way: no more sound comes for it."""
        if (turn := self.open_turn) is None:
            return
        if not turn.has_speech:
            self._drop(turn)
        elif self.commits_turns:
            self._end_turn(turn, self.buffer.end)
        else:
            self._stop(turn, self.buffer.end)

    def forget(self, turn: Turn) -> None:
        """The turn is transcribed."""
        self.turns.remove(turn)
        self._forget()

    async def _hear(self, probabilities: npt.NDArray[np.float32]) -> None:
        for probability in probabilities.tolist():
            self._hear_frame(probability)
            if self._rules.turn_end_from is not None:
                await self._end_if_complete()
        self._forget()

    def _hear_frame(self, probability: float) -> None:
        for mark in self.spans.hear(probability):
            if isinstance(mark, SpeechStarted):
                turn = self.open_turn
                if turn is None:
                    turn = self._begin_turn(mark.sample)
                    self._emit(SpeechBegan(turn.item_id, ms_of(mark.sample)))
                turn.has_speech = True
                turn.pieces.append(Piece(mark.sample))
            elif (turn := self.open_turn) is not None:
                self._end_piece(turn, mark.sample, mark.speech_end)
        if self.spans.is_speaking and (turn := self.open_turn) is not None and turn.pieces:
            turn.pieces[-1].confidence = self.spans.confidence  # a turn whose pass has failed has no pieces
        self._end_after_silence()

    def _end_after_silence(self) -> None:
        silence_ms = self._rules.turn_silence_ms
        if silence_ms is None or self.spans.is_speaking or (turn := self.open_turn) is None:
            return
        if self.spans.at - self.spans.heard_until >= silence_ms * SAMPLE_RATE_HZ // 1000:
            self._stop(turn, self.spans.at)

    async def _end_if_complete(self) -> None:
        turn, spans, rules = self.open_turn, self.spans, self._rules
        if turn is None or not await self._turn_ends.is_complete(turn, spans, rules):
            return
        # A session that drains may have ended the turn by now.
        if self.open_turn is turn and self._rules is rules:
            self._end_piece(turn, spans.at, spans.at - spans.silent_samples)
            self._stop(turn, spans.at)

    def _stop(self, turn: Turn, end: int) -> None:
        self._emit(SpeechEnded(turn.item_id, ms_of(end)))
        self._end_turn(turn, end)

    def _begin_turn(self, start: int) -> Turn:
        item_id = f"item_{secrets.token_hex(12)}"
        turn = Turn(item_id, self._previous_item_id, start, self.options)
        self._previous_item_id = item_id
        self.turns.append(turn)
        return turn

    def _end_turn(self, turn: Turn, end: int) -> None:
        if self.spans.is_speaking:
            self._end_piece(turn, end, end)
        elif self.spans.may_speak or not turn.has_speech:
            # The detector misses single words: what the client commits is heard all the same.
            start = self.spans.keep_from if turn.has_speech else turn.start
            turn.pieces.append(Piece(max(start, self.untranscribed_from), end, end))
        self.spans.reset(end)
        turn.end = end
        self._emit(Committed(turn.item_id, turn.previous_item_id))
        self._emit(ItemCreated(turn.item_id, turn.previous_item_id))
        self._emit(ItemCreated(turn.item_id, turn.previous_item_id, is_done=True))
        self.notify()

    def _end_piece(self, turn: Turn, end: int, speech_end: int) -> None:
        if turn.pieces and turn.pieces[-1].end is None:
            turn.pieces[-1].end, turn.pieces[-1].speech_end = end, speech_end

    def _drop(self, turn: Turn) -> None:
        turn.is_dropped, turn.end = True, self.buffer.end
        self._previous_item_id = turn.previous_item_id
        turn.pieces.clear()
        self.spans.reset(self.buffer.end)
        self.notify()

    def _forget(self) -> None:
        """Drop the sound that no piece, no later start of speech and no context of theirs needs."""
        starts = [piece.start for turn in self.turns for piece in turn.pieces]
        keep_from = self.spans.keep_from
        if (turn := self.open_turn) is not None and not turn.has_speech:
            # Nothing was found in it: all of a short turn is heard at its commit.
            keep_from = min(keep_from, max(turn.start, self.buffer.end - self._speech.facts.max_window_samples))
        needed_from = self._turn_ends.needs_from(turn, self.spans, self._rules)
        self.untranscribed_from = min([keep_from, *starts])
        self.buffer.drop_before(min(needed_from, self.untranscribed_from - MAX_SAMPLES))
        self.notify()

    def _new_spans(self, start: int) -> SpeechSpans:
        return SpeechSpans(
            threshold=self._rules.threshold,
            prefix_padding_ms=self._rules.prefix_padding_ms,
            silence_duration_ms=self._rules.piece_silence_ms,
            frame_samples=self._speech.facts.frame_samples,
            start=start,
        )

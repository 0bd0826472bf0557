"""Passes over the turn under way, one after the other, until its text is complete.

`passes` decides when one is due, `turn` what its text confirms; this module waits, asks the engine and emits the events.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from whisper_server.api.formats import tokens_usage
from whisper_server.api.realtime_server_events import ServerEvent, TranscriptCompleted, TranscriptDelta
from whisper_server.live.listening import Listening
from whisper_server.live.passes import Pass, due_pass, is_too_long, max_tokens
from whisper_server.live.said import MIN_CONFIDENCE, SoFar, earlier_text, n_in_context, text_of, window_samples
from whisper_server.live.speech_protocol import LiveSpeech, Transcribe
from whisper_server.live.turn import Delta, Piece, Said, Turn
from whisper_server.speech.live_windows import Context, Turns, WindowRequest
from whisper_server.speech.windows import cut
from whisper_server.whisper.constants import AUDIO_POSITIONS_PER_S, SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Task, Transcript

FAST_WINDOW_S = 0.1
"""Seconds per window of an engine whose passes follow each other so fast that agreement is no later than a word's clearance: a GPU."""


class TurnTranscription:
    """Transcribes one turn."""

    def __init__(
        self,
        turn: Turn,
        so_far: SoFar,
        listening: Listening,
        speech: LiveSpeech,
        *,
        turns_of: Callable[[], Turns],
        emit: Callable[[ServerEvent], None],
        note_delay: Callable[[float], None],
    ) -> None:
        self._turn = turn
        self._so_far = so_far
        self._listening = listening
        self._speech = speech
        self._turns_of = turns_of
        self._emit = emit
        self._note_delay = note_delay

    async def run(self) -> None:
        """Until the turn is committed and complete, or dropped. Raises ApiError."""
        turn = self._turn
        while not turn.is_done:
            piece = turn.pieces[0] if turn.pieces else None
            if piece is None:
                await self._listening.changed()
            elif piece.is_settled:
                self._send(turn.settle(piece))
            elif self._is_too_long(piece):
                self._split(piece)
            elif self._due(piece) is not None:
                await self._pass()
            else:
                await self._listening.changed()
        if not turn.is_dropped:
            self._complete()

    def _due(self, piece: Piece) -> Pass | None:
        spans = self._listening.spans
        return due_pass(
            piece,
            arrived=spans.at,
            speech_until=spans.heard_until,
            silent_samples=spans.silent_samples,
            max_samples=self._speech.facts.max_window_samples,
        )

    async def _pass(self) -> None:
        """Of what is due when the engine has time: while it was busy the piece has grown, or ended, or has no more to hear."""
        async with self._speech.slot(self._turns_of()) as transcribe:
            await self._listening.catch_up()
            piece = self._turn.pieces[0] if self._turn.pieces else None
            if piece is None or piece.is_settled or self._is_too_long(piece):
                return
            if (due := self._due(piece)) is not None:
                await self._hear(transcribe, piece, due)

    def _is_too_long(self, piece: Piece) -> bool:
        return is_too_long(piece, self._listening.spans.at, self._speech.facts.max_window_samples)

    async def _hear(self, transcribe: Transcribe, piece: Piece, due: Pass) -> None:
        turn = self._turn
        before, again = self._said(piece, due)
        start = again[0].start if again else due.start
        samples = self._listening.buffer.between(start, due.end)
        context = Context(due.start - start, text_of(again)) if again else None
        request = self._request(piece, due, earlier_text(before, self._language(piece)), context)
        transcript = await transcribe(samples, request)
        if turn.is_dropped:
            return
        piece.is_unprompted |= transcript.is_misled
        self._send(turn.add_pass(piece, transcript, due.end, is_final=due.is_final, is_cut=due.is_cut))
        if due.with_words:
            turn.slide(piece, transcript, (due.end - due.start) / SAMPLE_RATE_HZ)

    def _split(self, piece: Piece) -> None:
        """Let a piece that no window holds end in its best pause; the rest is the next piece."""
        max_samples = self._speech.facts.max_window_samples
        end = self._listening.spans.at if piece.end is None else piece.end
        samples = self._listening.buffer.between(piece.start, min(end, piece.start + 2 * max_samples))
        cut_sample = piece.start + cut(samples, max_samples / SAMPLE_RATE_HZ)[0].end_sample
        self._turn.split(piece, cut_sample)

    def _said(self, piece: Piece, due: Pass) -> tuple[Sequence[Said], Sequence[Said]]:
        """The words before the pass, in two parts: it hears the last one again."""
        said, language = (*self._so_far.said, *self._turn.said), self._language(piece)
        n_again = 0
        if language and not piece.is_unprompted and (piece.confidence or 0.0) >= MIN_CONFIDENCE:
            n_samples = window_samples(is_cut=due.is_cut, is_slow=self._is_slow(), pass_s=self._speech.pass_s)
            start = due.end - min(n_samples, self._speech.facts.max_window_samples)
            n_again = n_in_context(said, start, language, self._speech.facts.n_tokens)
        return said[: len(said) - n_again], said[len(said) - n_again :]

    def _language(self, piece: Piece) -> str | None:
        """None: to be detected."""
        return self._turn.options.language or piece.language

    def _request(self, piece: Piece, due: Pass, earlier: str, context: Context | None) -> WindowRequest:
        turn = self._turn
        likely = turn.languages[-1] if turn.languages else self._so_far.language
        is_slow = self._is_slow()
        options = replace(
            turn.options,
            language=self._language(piece),
            words=due.with_words or is_slow,
            # They say how sure a word is, as words do, whose alignment fast engines do without.
            logprobs=turn.options.logprobs
            or (not due.is_final and not is_slow and self._speech.facts.has_free_logprobs),
        )
        max_new_tokens = 0 if due.is_final else max_tokens(piece, due)
        earlier = "" if piece.is_unprompted else earlier
        return WindowRequest(
            options,
            earlier,
            likely,
            is_final=due.is_final,
            is_cut=due.is_cut,
            max_new_tokens=max_new_tokens,
            confidence=piece.confidence,
            context=context,
        )

    def _is_slow(self) -> bool:
        """Whether a second pass would come late: then words are sent by their times, which cost a tenth of a pass."""
        return not 0 < self._speech.window_s() < FAST_WINDOW_S

    def _send(self, delta: Delta) -> None:
        if delta.text:
            self._note_delay(self._listening.age_s(delta.spoken_until))
            logprobs = delta.logprobs if self._turn.options.logprobs else None
            self._emit(TranscriptDelta(self._turn.item_id, delta.text, logprobs))

    def _complete(self) -> None:
        turn = self._turn
        assert turn.end is not None
        n_samples = turn.end - turn.start
        transcript = Transcript(
            task=Task.TRANSCRIBE,
            languages=tuple(turn.languages) or ("en",),
            duration_s=n_samples / SAMPLE_RATE_HZ,
            text=turn.text,
            n_prompt_tokens=self._speech.facts.n_tokens(turn.options.prompt),
            n_audio_tokens=-(-n_samples * AUDIO_POSITIONS_PER_S // SAMPLE_RATE_HZ),
            n_output_tokens=self._speech.facts.n_tokens(turn.text),
        )
        logprobs = turn.logprobs if turn.options.logprobs else None
        self._so_far.add(turn.said)
        self._emit(TranscriptCompleted(turn.item_id, turn.text, turn.languages, tokens_usage(transcript), logprobs))

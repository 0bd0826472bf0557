"""One turn: its sound as pieces between pauses, and the text that passes over them confirm. Pure.

A piece is what one window grows over: from the start of speech to a pause, to the turn's end, or to where a long one is
cut. `session` finds turns and pieces, `passes` decides when a pass is due.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from whisper_server.live.agreement import Agreement, Confirmed
from whisper_server.live.clear_words import letters, n_clear_units, n_within, passes_needed
from whisper_server.live.text_units import appended, closing_mark_end
from whisper_server.live.window_cut import cut_of
from whisper_server.speech.temperature_fallback import MAX_COMPRESSION_RATIO, MIN_AVG_LOGPROB
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.transcript import Options, TokenLogprob, WindowTranscript


@dataclass
class Piece:
    """Sound between two pauses; positions are samples of the session."""

    start: int
    """Of the window that passes hear; moves on where a long piece slides."""
    end: int | None = None
    """None while it grows."""
    speech_end: int = 0
    """Where the silence at its end begins; known with its end."""
    confidence: float | None = None
    """Of the voice detector, as the highest mean over 128 ms; None: of this sound alone it is not known."""
    agreement: Agreement = field(default_factory=Agreement)
    heard_until: int = 0
    """The end of the last pass."""
    heard: WindowTranscript | None = None
    """What the last pass over this window heard."""
    language: str | None = None
    """That of its first confirmed word."""
    is_unprompted: bool = False
    """What was said before has misled a pass over this window."""

    @property
    def is_settled(self) -> bool:
        """It has ended, and the last pass has heard all of its speech and found nothing to decode again."""
        return (
            self.end is not None
            and self.heard is not None
            and self.heard_until >= self.speech_end
            and is_clean(self.heard)
        )


@dataclass(frozen=True)
class Said:
    """Sound that is not heard any more for its own sake, and its text."""

    start: int
    """Sample of the session."""
    text: str
    language: str


@dataclass(frozen=True)
class Delta:
    """Text that is never withdrawn."""

    text: str
    logprobs: tuple[TokenLogprob, ...]
    spoken_until: int
    """Its words were over by this sample; of those that one pass confirms, some later: they are not older."""


@dataclass
class Turn:
    """A turn of the conversation, which becomes an item of it."""

    item_id: str
    previous_item_id: str | None
    start: int
    options: Options
    """Language None: detected until the first word is confirmed."""
    end: int | None = None
    """None until it is committed."""
    has_speech: bool = False
    """The voice detector has found a piece."""
    is_dropped: bool = False
    """The client has cleared it."""
    pieces: deque[Piece] = field(default_factory=deque)
    text: str = ""
    said: list[Said] = field(default_factory=list)
    """Of the text, what is no longer in the window."""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    languages: list[str] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        """Committed, and everything is transcribed."""
        return self.end is not None and not self.pieces

    def add_pass(
        self, piece: Piece, transcript: WindowTranscript, until: int, *, is_final: bool, is_cut: bool = False
    ) -> Delta:
        """Take what a pass over the piece, up to sample `until`, has heard; what it confirms."""
        before, piece.heard, piece.heard_until = piece.heard_until, transcript, until
        if is_final:
            return self._finish(piece, transcript)
        is_first = not piece.agreement.n_confirmed
        n_clear = n_clear_units(transcript, (until - piece.start) / SAMPLE_RATE_HZ)
        needed = passes_needed(transcript, is_cut=is_cut)
        confirmed = piece.agreement.add(
            transcript.text, transcript.language, is_cut=is_cut, n_clear=n_clear, passes_needed=needed
        )
        spoken_until = max(before, piece.start)  # the first pass over a piece has none before it
        return self._add(piece, confirmed, transcript, is_first=is_first, spoken_until=spoken_until)

    def settle(self, piece: Piece) -> Delta:
        """The last pass over a settled piece becomes its final one."""
        assert piece.heard is not None
        return self._finish(piece, piece.heard)

    def slide(self, piece: Piece, transcript: WindowTranscript, window_s: float) -> None:
        """Leave words of the last pass that are confirmed out of a window of `window_s` that has become long."""
        words = transcript.words
        n_letters = [len(letters(word.word)) for word in words]
        heard = piece.agreement.heard
        n_confirmed = n_within(n_letters, sum(len(letters(unit.text)) for unit in heard))
        cut = cut_of(words, n_confirmed, window_s)
        if cut is None:
            return
        n_before = n_within([len(letters(unit.text)) for unit in heard], sum(n_letters[: cut.n_words]))
        # What stays is counted from the end: a pass may have heard other words at the start than those confirmed.
        n_cut = piece.agreement.n_confirmed - (len(heard) - n_before)
        if n_cut > 0:
            self.said.append(Said(piece.start, piece.agreement.cut(n_cut), transcript.language))
            piece.start += round(cut.at_s * SAMPLE_RATE_HZ)
            # The last pass heard another window: it cannot settle this one.
            piece.heard, piece.is_unprompted = None, False

    def split(self, piece: Piece, sample: int) -> None:
        """Let a piece end at `sample`; what follows is the next piece."""
        rest = Piece(sample, piece.end, piece.speech_end)
        piece.end = piece.speech_end = sample
        self.pieces.insert(self.pieces.index(piece) + 1, rest)

    def _finish(self, piece: Piece, transcript: WindowTranscript) -> Delta:
        is_first = not piece.agreement.n_confirmed
        confirmed = piece.agreement.finish(transcript.text, transcript.language)
        delta = self._add(piece, confirmed, transcript, is_first=is_first, spoken_until=piece.speech_end)
        self.pieces.remove(piece)
        self.said.append(Said(piece.start, piece.agreement.confirmed, transcript.language))
        return delta

    def _add(
        self, piece: Piece, confirmed: Confirmed, transcript: WindowTranscript, *, is_first: bool, spoken_until: int
    ) -> Delta:
        text, start, language = confirmed.text, confirmed.start, transcript.language
        if not self.text:
            start += closing_mark_end(text)
            text = text[closing_mark_end(text) :].lstrip()
        elif is_first or text[:1].isalnum():
            text = appended(text, language)
        if text and piece.language is None:
            piece.language = language
        logprobs = logprobs_between(transcript, start, confirmed.end) if self.options.logprobs else ()
        self.text += text
        self.logprobs += logprobs
        if text and language not in self.languages:
            self.languages.append(language)
        return Delta(text, logprobs, spoken_until)


def is_clean(transcript: WindowTranscript) -> bool:
    """Whether the temperature fallback has no reason to decode it again."""
    return all(
        segment.compression_ratio <= MAX_COMPRESSION_RATIO and segment.avg_logprob >= MIN_AVG_LOGPROB
        for segment in transcript.segments
    )


def logprobs_between(transcript: WindowTranscript, start: int, end: int) -> tuple[TokenLogprob, ...]:
    """Those of the tokens that begin between two characters of the text."""
    first, stop = (len(transcript.text[:index].encode()) for index in (start, end))
    at = 0
    found: list[TokenLogprob] = []
    for logprob in transcript.logprobs:
        if first <= at < stop:
            found.append(logprob)
        at += len(logprob.bytes)
    return tuple(found)

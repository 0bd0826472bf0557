"""An accepted text as segments of the recording, with their words, and as log-probabilities of its tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from whisper_server.speech.temperature_fallback import Attempt
from whisper_server.speech.timestamps import TokenSpan
from whisper_server.speech.windows import Window
from whisper_server.speech.words import TimedWord
from whisper_server.whisper.constants import MEL_HOP_SAMPLES
from whisper_server.whisper.tokens import WhisperTokenizer
from whisper_server.whisper.transcript import Segment, TokenLogprob, Word, is_long_cue


def segments(
    attempt: Attempt,
    spans: Sequence[TokenSpan],
    words: Sequence[Sequence[TimedWord]],
    window: Window,
    tokenizer: WhisperTokenizer,
) -> Iterator[Segment]:
    """The segments of one window; `words` are those of each span, or nothing if words were not requested.

    A segment begins no earlier than its first word: its timestamp often begins with the window, not with the speech.
    """
    for index, (span, its_words) in enumerate(zip(spans, words, strict=True)):
        tokens = attempt.decoded.tokens[span.first : span.end]
        start_s = max(span.start_s, its_words[0].start_s) if its_words else span.start_s
        yield Segment(
            id=index,
            seek=window.start_sample // MEL_HOP_SAMPLES,
            start_s=window.start_s + min(start_s, span.end_s),
            end_s=window.start_s + span.end_s,
            text=tokenizer.detokenize(tokens),
            tokens=tuple(tokens),
            temperature=attempt.temperature,
            avg_logprob=attempt.avg_logprob,
            compression_ratio=attempt.compression_ratio,
            no_speech_prob=attempt.decoded.no_speech_prob,
            words=tuple(_word(word, window.start_s) for word in its_words),
        )


def has_long_cue(tokens: Sequence[int], spans: Sequence[TokenSpan], tokenizer: WhisperTokenizer) -> bool:
    """Whether a segment is too long for one subtitle."""
    return any(
        is_long_cue(span.end_s - span.start_s, len(tokenizer.detokenize(tokens[span.first : span.end])))
        for span in spans
    )


def text_logprobs(attempt: Attempt, tokenizer: WhisperTokenizer) -> tuple[TokenLogprob, ...]:
    """The log-probabilities of the text tokens; timestamps are left out."""
    pairs = zip(attempt.decoded.tokens, attempt.decoded.token_logprobs, strict=True)
    return tuple(
        TokenLogprob(tokenizer.detokenize([token]), tokenizer.token_bytes(token), logprob)
        for token, logprob in pairs
        if tokenizer.is_text(token)
    )


def _word(word: TimedWord, offset_s: float) -> Word:
    start_s, end_s = offset_s + word.start_s, offset_s + word.end_s
    return Word(word.text.strip(), start_s, end_s, word.probability, least_probability=word.least_probability)

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

MAX_EARLY_S = 0.5
"""Of a first word, before the timestamp of its segment: else the alignment has stretched it."""


def segments(
    attempt: Attempt,
    spans: Sequence[TokenSpan],
    words: Sequence[Sequence[TimedWord]],
    window: Window,
    tokenizer: WhisperTokenizer,
) -> Iterator[Segment]:
    """The segments of one window; `words` are those of each span, or nothing if words were not requested.

    A segment begins with its first word: its timestamp often begins with the window, not with the speech. It ends no earlier than its
    last one, and before the next segment. Source: `add_word_timestamps` of openai/whisper's `timing.py`, which ends it with that word.
    """
    starts_s = [_start_s(span, its_words) for span, its_words in zip(spans, words, strict=True)]
    for index, (span, its_words) in enumerate(zip(spans, words, strict=True)):
        tokens = attempt.decoded.tokens[span.first : span.end]
        start_s = starts_s[index]
        end_s = max(span.end_s, its_words[-1].end_s) if its_words else span.end_s
        if its_words and index + 1 < len(spans):
            end_s = min(end_s, max(its_words[-1].end_s, starts_s[index + 1]))
        yield Segment(
            id=index,
            seek=window.start_sample // MEL_HOP_SAMPLES,
            start_s=window.start_s + min(start_s, end_s),
            end_s=window.start_s + end_s,
            text=tokenizer.detokenize(tokens),
            tokens=tuple(tokens),
            temperature=attempt.temperature,
            avg_logprob=attempt.avg_logprob,
            compression_ratio=attempt.compression_ratio,
            no_speech_prob=attempt.decoded.no_speech_prob,
            words=tuple(_word(word, window.start_s) for word in its_words),
        )


def _start_s(span: TokenSpan, words: Sequence[TimedWord]) -> float:
    is_word_right = bool(words) and words[0].start_s >= span.start_s - MAX_EARLY_S
    return words[0].start_s if is_word_right else span.start_s


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

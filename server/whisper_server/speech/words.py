"""Words of one window: the tokens of each word, and its start and end.

Splitting, merging of punctuation and the caps on long words follow openai/whisper's `tokenizer.py`
(`split_to_word_tokens`) and `timing.py`. The engine computes the alignment.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import NamedTuple

from whisper_server.speech.loudness import AudibleFrames
from whisper_server.whisper.engine_protocol import Alignment
from whisper_server.whisper.languages import WRITTEN_WITHOUT_SPACES

PREPENDED_PUNCTUATION = "\"'“¿¡([{-"
APPENDED_PUNCTUATION = "\"'.。,，!！?？:：”)]}、"
SENTENCE_ENDS = ".。!！?？"
MAX_MEDIAN_WORD_S = 0.7
MIN_PAUSE_MEDIANS = 4
"""A word whose end is this many medians of a word's length after the word before it follows a pause."""
MIN_PAUSE_S = 0.1
"""A shorter silence may be the closure of a plosive, which is part of the word."""
REPLACEMENT = "\ufffd"
"""The decoder's output for bytes that are not a whole character yet."""


class TimedWord(NamedTuple):
    """A word of a window; `n_tokens` is the number of text tokens in it. A frozen dataclass takes three times as long to make."""

    text: str
    n_tokens: int
    start_s: float
    end_s: float
    probability: float
    """Mean of its tokens."""
    least_probability: float
    """Of its least likely token."""


def split_words(
    text_tokens: Sequence[int], decode: Callable[[Sequence[int]], str], language: str
) -> tuple[tuple[str, int], ...]:
    """(word, number of its tokens): split at spaces, or at characters in languages written without spaces."""
    characters = _split_on_characters(text_tokens, decode)
    return characters if language in WRITTEN_WITHOUT_SPACES else _split_on_spaces(characters)


def time_words(words: Sequence[tuple[str, int]], alignment: Alignment) -> tuple[TimedWord, ...]:
    """Words with the times of their tokens; punctuation is merged into the adjacent word."""
    timed: list[TimedWord] = []
    starts_s, probabilities = alignment.token_starts_s, alignment.token_probabilities
    first = 0
    for text, n_tokens in words:
        end = first + n_tokens
        if n_tokens == 1:
            probability = least = probabilities[first]
        else:
            probability, least = fmean(probabilities[first:end]), min(probabilities[first:end])
        timed.append(TimedWord(text, n_tokens, starts_s[first], starts_s[end], probability, least))
        first = end
    return _merge_punctuation(_cap_at_sentence_ends(timed))


def _split_on_characters(
    text_tokens: Sequence[int], decode: Callable[[Sequence[int]], str]
) -> tuple[tuple[str, int], ...]:
    """The smallest groups of tokens that decode to whole characters."""
    texts = [decode((token,)) for token in text_tokens]
    if not any(REPLACEMENT in text for text in texts):  # as in most texts in Latin letters: half of the time
        return tuple([(text, 1) for text in texts])
    full_text = decode(text_tokens)
    groups: list[tuple[str, int]] = []
    pending: list[int] = []
    offset = 0
    for token in text_tokens:
        pending.append(token)
        text = decode(pending)
        hole = text.find(REPLACEMENT)
        if hole < 0 or full_text[offset + hole : offset + hole + 1] == REPLACEMENT:
            groups.append((text, len(pending)))
            offset += len(text)
            pending = []
    if pending:
        groups.append((decode(pending), len(pending)))
    return tuple(groups)


def _split_on_spaces(groups: Sequence[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    words: list[tuple[str, int]] = []
    for index, (text, n_tokens) in enumerate(groups):
        starts_word = text.startswith(" ") or (text.strip() in string.punctuation and not _is_elision(groups, index))
        if starts_word or not words:
            words.append((text, n_tokens))
        else:
            words[-1] = (words[-1][0] + text, words[-1][1] + n_tokens)
    return tuple(words)


def _is_elision(groups: Sequence[tuple[str, int]], index: int) -> bool:
    """Whether an apostrophe stands inside a word: "l'étoile", "dell'utente". openai/whisper makes two words of them."""
    if groups[index][0] != "'" or not 0 < index < len(groups) - 1:
        return False
    return groups[index - 1][0][-1:].isalpha() and groups[index + 1][0][:1].isalpha()


def _cap_at_sentence_ends(words: Sequence[TimedWord]) -> list[TimedWord]:
    """Shorten a full stop or a next word that the alignment stretches over the pause between sentences."""
    max_s = 2 * _median_s(words)
    capped = list(words)
    if not max_s:
        return capped
    for index in range(1, len(capped)):
        word = capped[index]
        if word.end_s - word.start_s <= max_s:
            continue
        if word.text.strip() in SENTENCE_ENDS:
            capped[index] = word._replace(end_s=word.start_s + max_s)
        elif capped[index - 1].text.strip() in SENTENCE_ENDS:
            capped[index] = word._replace(start_s=word.end_s - max_s)
    return capped


def _median_s(words: Sequence[TimedWord]) -> float:
    """Median length of the words, at most MAX_MEDIAN_WORD_S; 0 if none has a length."""
    durations_s = [word.end_s - word.start_s for word in words if word.end_s > word.start_s]
    return min(MAX_MEDIAN_WORD_S, median(durations_s)) if durations_s else 0.0


def segment_ranges(words: Sequence[TimedWord], n_tokens: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """(first, stop) of the words of each segment; `n_tokens` are the text tokens per segment.

    A word that reaches into the next segment belongs to the segment in which it begins.
    """
    ranges = []
    first = n_left = 0  # n_left is negative if a word reaches into the next segment
    for n_segment_tokens in n_tokens:
        n_left += n_segment_tokens
        stop = first
        while n_left > 0 and stop < len(words):
            n_left -= words[stop].n_tokens
            stop += 1
        ranges.append((first, stop))
        first = stop
    return tuple(ranges)


def cap_at_segment_starts(words: Sequence[TimedWord], first_words: Sequence[int]) -> tuple[TimedWord, ...]:
    """Shorten the first two words of a segment that the alignment stretches over the music or noise before them.

    `first_words` are the indices of the first word of each segment. The limit is that of sentence ends: twice the
    median. Without it, a word after 18 s of music begins with the music. Source: the caps on words after a pause in
    `add_word_timestamps` of openai/whisper's `timing.py`.
    """
    median_s = _median_s(words)
    max_s = 2 * median_s
    capped = list(words)
    for index in first_words if median_s else ():
        word = capped[index]
        following = capped[index + 1] if index + 1 < len(capped) and index + 1 not in first_words else None
        spoken_until_s = capped[index - 1].end_s if index else 0.0
        both_s = following.end_s - word.start_s if following else 0.0
        if word.end_s - spoken_until_s <= MIN_PAUSE_MEDIANS * median_s:
            continue
        if word.end_s - word.start_s <= max_s and both_s <= 2 * max_s:
            continue
        end_s = word.end_s
        if following is not None and following.end_s - following.start_s > max_s:
            end_s = following.end_s - max_s
            capped[index + 1] = following._replace(start_s=end_s)
        capped[index] = word._replace(start_s=max(word.start_s, end_s - max_s), end_s=end_s)
    return tuple(capped)


def begin_with_speech(words: Sequence[TimedWord], index: int, speech_s: float) -> tuple[TimedWord, ...]:
    """Move the start of word `index` to `speech_s`, where the voice detector hears the speech begin.

    If the word has ended by then, it shares the time until the end of the next word with that word. No word is moved to an
    earlier time.
    """
    moved = list(words)
    word = moved[index]
    if word.start_s < speech_s < word.end_s:
        moved[index] = word._replace(start_s=speech_s)
    elif index + 1 < len(moved) and word.end_s <= speech_s < moved[index + 1].end_s:
        middle_s = (speech_s + moved[index + 1].end_s) / 2
        moved[index] = word._replace(start_s=speech_s, end_s=middle_s)
        moved[index + 1] = moved[index + 1]._replace(start_s=middle_s)
    return tuple(moved)


def _merge_punctuation(words: Sequence[TimedWord]) -> tuple[TimedWord, ...]:
    """Merge opening marks into the next word, closing marks into the previous one; the word keeps its own times."""
    with_openings: list[TimedWord] = []
    for word in reversed(words):
        if with_openings and word.text.startswith(" ") and word.text.strip() in PREPENDED_PUNCTUATION:
            following = with_openings[-1]
            merged = following._replace(text=word.text + following.text, n_tokens=word.n_tokens + following.n_tokens)
            with_openings[-1] = merged
        else:
            with_openings.append(word)
    merged_words: list[TimedWord] = []
    for word in reversed(with_openings):
        if merged_words and not merged_words[-1].text.endswith(" ") and word.text in APPENDED_PUNCTUATION:
            previous = merged_words[-1]
            merged_words[-1] = previous._replace(
                text=previous.text + word.text, n_tokens=previous.n_tokens + word.n_tokens
            )
        else:
            merged_words.append(word)
    return tuple(merged_words)


def clip_to_sound(words: Sequence[TimedWord], frames: AudibleFrames) -> tuple[TimedWord, ...]:
    """Clip words to their window, and cut pauses off their start and end.

    The alignment assigns a pause to one of the two words around it. A word that would start or end with 0.1 s
    or more of near silence starts or ends where it becomes audible instead.
    """
    end_s = frames.duration_s
    spans_s = [(min(word.start_s, end_s), min(word.end_s, end_s)) for word in words]
    clipped = []
    for word, span_s, sound in zip(words, spans_s, frames.within(spans_s), strict=True):
        start_s, stop_s = span_s
        if sound is not None:
            start_s = sound[0] if sound[0] - start_s >= MIN_PAUSE_S else start_s
            stop_s = sound[1] if stop_s - sound[1] >= MIN_PAUSE_S else stop_s
        clipped.append(TimedWord(word.text, word.n_tokens, start_s, stop_s, word.probability, word.least_probability))
    return tuple(clipped)

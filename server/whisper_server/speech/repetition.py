"""Recognises text that is there twice: a phrase at a window's end, words on both sides of a seam, words of the prompt."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import accumulate

from whisper_server.speech.temperature_fallback import Attempt, repetition_end
from whisper_server.speech.words import split_words
from whisper_server.whisper.tokens import WhisperTokenizer

MAX_REPEATED_WORDS = 3
"""Number of words at a seam that are compared."""
MIN_PROMPT_WORDS = 3
"""Fewer words of the prompt in a row are said by chance, or are a name that the prompt is there for."""
SHARED_PHRASE_WORDS = 4
"""So many words in a row of the text before are seldom said again; a model that reads its prompt repeats whole sentences."""
MIN_SHARED_WORDS = 0.5
"""A text that shares fewer of its words with the one decoded without the prompt was read from the prompt."""


@dataclass(frozen=True)
class EarlierText:
    """What was said before the window, as part of the prompt; live windows have it."""

    text: str
    without: tuple[int, ...]
    """`previous` without it: the tokens of prompt and keywords."""
    on_misled: Callable[[], None]
    """Called where a text was decoded again without it."""


def without_repetition(attempt: Attempt, tokenizer: WhisperTokenizer) -> Attempt:
    """The attempt, with a phrase that is repeated at its end kept once."""
    text_tokens = tokenizer.text_tokens(attempt.decoded.tokens)
    n_kept = repetition_end(text_tokens)
    if n_kept == len(text_tokens):
        return attempt
    kept = text_tokens[:n_kept]
    logprobs = tuple(
        logprob
        for token, logprob in zip(attempt.decoded.tokens, attempt.decoded.token_logprobs, strict=False)
        if tokenizer.is_text(token)
    )[:n_kept]
    decoded = replace(attempt.decoded, tokens=kept, token_logprobs=logprobs)
    return replace(attempt, decoded=decoded, text=tokenizer.detokenize(kept))


def ends_in_loop(attempt: Attempt, tokenizer: WhisperTokenizer) -> bool:
    """Whether the model repeats a phrase at the end of its text, or until it was stopped."""
    return attempt.decoded.hit_length_limit or without_repetition(attempt, tokenizer) is not attempt


def without_repeated_words(attempt: Attempt, before: str, tokenizer: WhisperTokenizer, language: str) -> Attempt:
    """The attempt without the words at its start that the text before it ends with. Timestamps stay."""
    decoded = attempt.decoded
    words = split_words(tokenizer.text_tokens(decoded.tokens), tokenizer.detokenize, language)
    n_words = n_repeated_words(before.split(), [text for text, _ in words])
    n_dropped = sum(n_tokens for _, n_tokens in words[:n_words])
    is_text = [tokenizer.is_text(token) for token in decoded.tokens]
    kept = [index for index, n_texts in enumerate(accumulate(is_text)) if not is_text[index] or n_texts > n_dropped]
    tokens = tuple(decoded.tokens[index] for index in kept)
    logprobs = tuple(decoded.token_logprobs[index] for index in kept) if decoded.token_logprobs else ()
    decoded = replace(decoded, tokens=tokens, token_logprobs=logprobs)
    return replace(attempt, decoded=decoded, text=tokenizer.detokenize(tokens))


def n_repeated_words(before: Sequence[str], after: Sequence[str]) -> int:
    """Number of items at the start of `after` that repeat the end of `before`.

    Items are words or marks of punctuation; case and punctuation do not count. At most MAX_REPEATED_WORDS words are
    compared. Text written without spaces is one item, and never repeats.
    """
    last = [bare for bare in map(_bare, before) if bare][-MAX_REPEATED_WORDS:]
    n_repeated = 0
    first: list[str] = []
    for n_items, item in enumerate(after, start=1):
        if bare := _bare(item):
            first.append(bare)
        if len(first) > len(last):
            break
        if first and first == last[-len(first) :]:
            n_repeated = n_items
    return n_repeated


def is_part_of(text: str, prompt: str) -> bool:
    """Whether all of `text` is in `prompt`, word for word, case and punctuation aside, once or several times."""
    words, prompt_words = _bare_words(text), _bare_words(prompt)
    if len(words) < MIN_PROMPT_WORDS or not prompt_words:
        return False
    repeated = f" {' '.join(prompt_words * (1 + len(words) // len(prompt_words)))} "
    return f" {' '.join(words)} " in repeated


def shares_phrase(text: str, earlier: str) -> bool:
    """Whether SHARED_PHRASE_WORDS words in a row are in both texts, case and punctuation aside."""
    words, before = _bare_words(text), _bare_words(earlier)
    phrases = {tuple(before[n : n + SHARED_PHRASE_WORDS]) for n in range(len(before) - SHARED_PHRASE_WORDS + 1)}
    return any(
        tuple(words[n : n + SHARED_PHRASE_WORDS]) in phrases for n in range(len(words) - SHARED_PHRASE_WORDS + 1)
    )


def adds_phrase(text: str, first: str, earlier: str) -> bool:
    """Whether words in a row that `text` has and `first` lacks hold a phrase of `earlier`.

    A text that says a phrase of the text before in other words than `first` did corrects it: in 75 long recordings of people (34,061
    words, Whisper base) 12.23 instead of 12.26 % of words are wrong if those stay, with timestamps 12.35 instead of 12.41 %.
    """
    words, before = _bare_words(text), _bare_words(first)
    changes = SequenceMatcher(None, before, words, autojunk=False).get_opcodes()
    return any(
        shares_phrase(" ".join(words[start:end]), earlier) for what, _, _, start, end in changes if what != "equal"
    )


def is_similar(text: str, other: str) -> bool:
    """Whether most of the words of `text` are in `other`, too."""
    words = _bare_words(text)
    n_shared = (Counter(words) & Counter(_bare_words(other))).total()
    return n_shared >= MIN_SHARED_WORDS * len(words)


def _bare_words(text: str) -> list[str]:
    return [bare for bare in map(_bare, text.split()) if bare]


@lru_cache(maxsize=4096)  # each pass over a live window has nearly all words of the one before
def _bare(word: str) -> str:
    return word.strip(string.whitespace + string.punctuation + "…。，、！？¿¡«»“”").casefold()

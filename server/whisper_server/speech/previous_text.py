"""The text before a window as its prompt: openai/whisper's `condition_on_previous_text`.

Where a request asks for it, windows wait for one another. Else only a window that the model is unsure of (`is_unsure`) is decoded once more
with the text before it, as that was heard first; the likelier text is kept. Of 22,359 words (50 recordings of people in five
languages, Whisper base in float32) 12.0 instead of 12.3 % are wrong by it, with timestamps 12.2 instead of 12.5 %; faster-whisper, whose
windows always have that text, 11.9 %. With it in every window 12.2 and 12.3 % are, and more words are left out.
`window_decoding` decodes with and without the prompt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from whisper_server.speech.temperature_fallback import MAX_TEMPERATURE_WITH_PROMPT, Attempt
from whisper_server.whisper.languages import after_text
from whisper_server.whisper.tokens import MAX_PREVIOUS_TOKENS, WhisperTokenizer
from whisper_server.whisper.transcript import Options, Task, WindowTranscript

UNSURE_AVG_LOGPROB = -0.2
"""Of texts without timestamps, below which they are decoded again: 17 % of those windows. Below -0.15 (40 %) 12.0 % of words are wrong,
too; below -0.25 (6 %) 12.2 %."""
UNSURE_AVG_LOGPROB_WITH_TIMESTAMPS = -0.3
"""The same for texts with timestamps, which are less likely: 30 % of the windows. Below -0.25 (61 %) 12.1 % of words are wrong, but more are
left out; below -0.36 (11 %) 12.2 %."""
MAX_WINDOWS = 8
"""Whose text a window may get as its prompt: more than the prompt has room for, unless they say next to nothing."""
MAX_CHARACTERS = 1_000
"""Of earlier text: 223 tokens of Latin letters are about as many; the rest is cut off as tokens."""
STEP_TOKENS = 16
"""The earlier text, with the prefix behind it, has a multiple of so many tokens: CTranslate2 decodes only prompts of one length together."""


def is_unsure(attempt: Attempt, *, timestamps: bool) -> bool:
    """Whether the text before may help the model; a text that only a high temperature gave is none to compare with."""
    if attempt.temperature > MAX_TEMPERATURE_WITH_PROMPT:
        return False
    return attempt.avg_logprob < (UNSURE_AVG_LOGPROB_WITH_TIMESTAMPS if timestamps else UNSURE_AVG_LOGPROB)


class PreviousText:
    """What the windows of a recording say, for the windows behind them. Of one event loop."""

    def __init__(self, tokenizer: WhisperTokenizer, options: Options, given: Sequence[int], n_windows: int) -> None:
        """`given` are the tokens of the client's prompt and keywords."""
        self._tokenizer, self._given = tokenizer, tuple(given)
        self._of_all = options.condition_on_previous_text is True
        self._of_unsure = (
            options.condition_on_previous_text is None and options.task is Task.TRANSCRIBE and not options.temperature
        )
        self._said = [asyncio.get_running_loop().create_future() for _ in range(n_windows)]
        self._in_flight: set[int] = set()

    async def of(self, number: int) -> tuple[int, ...]:
        """Tokens that the window of this number gets as its prompt; waits for the windows before, if it gets their text.

        It must not have a slot yet: windows that wait could hold all slots, and none be left for those that they wait for.
        """
        return await self._after(range(number)) if self.is_awaited(number) else self._given

    def is_awaited(self, number: int) -> bool:
        """Whether the window of this number waits for those before it."""
        return self._of_all and number > 0

    def may_help(self, number: int) -> bool:
        """Whether the window of this number is decoded again where the model is unsure of it."""
        return self._of_unsure and number > 0

    async def of_unsure(self, number: int, text: str, language: str) -> tuple[int, ...]:
        """Tokens for the second decoding of a window, which at first says `text`.

        Waits only for windows that have a slot: what they hear first waits for no other window.
        """
        self.say(number, WindowTranscript(text, (), language=language))
        return await self._after([index for index in range(number) if index in self._in_flight], language)

    def begin(self, number: int) -> None:
        """The window of this number has its slot."""
        self._in_flight.add(number)

    def say(self, number: int, window: WindowTranscript) -> None:
        """What a window says; only its first text counts."""
        if not self._said[number].done():
            self._said[number].set_result(window)

    async def _after(self, numbers: Sequence[int], language: str | None = None) -> tuple[int, ...]:
        """Where a language is given, nothing that was said right before in another one."""
        before = [self._said[number] for number in numbers[-MAX_WINDOWS:]]
        if before:
            await asyncio.wait(before)
        windows = [said.result() for said in before]
        is_other = bool(language and windows and windows[-1].language != language)
        return prompt_of(self._tokenizer, self._given, () if is_other else windows)


def text_before(windows: Sequence[WindowTranscript]) -> str:
    """The end of what `windows` say.

    Nothing from before a change of language, and nothing up to a text that only a high temperature gave: openai/whisper forgets
    that too, because the next window would go on with its faults.
    """
    parts: list[str] = []
    n_characters = 0
    for window in reversed(windows):
        is_hot = any(segment.temperature > MAX_TEMPERATURE_WITH_PROMPT for segment in window.segments)
        if is_hot or window.language != windows[-1].language or n_characters >= MAX_CHARACTERS:
            break
        parts.append(after_text(window.text, window.language))
        n_characters += len(window.text)
    return "".join(reversed(parts)).strip()


def prompt_of(
    tokenizer: WhisperTokenizer, given: Sequence[int], windows: Sequence[WindowTranscript]
) -> tuple[int, ...]:
    """The tokens of the client's prompt and keywords, `given`, and behind them the end of what `windows` say."""
    return with_earlier(given, tokenizer.previous_text(text_before(windows), ()))


def with_earlier(
    given: Sequence[int], earlier: Sequence[int], *, max_tokens: int = MAX_PREVIOUS_TOKENS, n_prefix_tokens: int = 0
) -> tuple[int, ...]:
    """`given` and the end of `earlier`: at most `max_tokens` of it, and of the prefix that the decoder gets behind it.

    What the client gives stays whole: names are needed most where the model is unsure.
    """
    given = given[-MAX_PREVIOUS_TOKENS:]
    room = min(max_tokens, MAX_PREVIOUS_TOKENS - len(given) + n_prefix_tokens)
    n_both = min(len(earlier) + n_prefix_tokens, room) // STEP_TOKENS * STEP_TOKENS
    n_earlier = max(0, n_both - n_prefix_tokens)
    return (*given, *earlier[len(earlier) - n_earlier :])

"""One window of a live session through the engine: the same slots, batches, fallback and guards as those of files.

`live` decides which window, when, and what its text is good for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial

from whisper_server.speech.language import MIN_CHANGE_S, SILENCE_LANGUAGE, LanguageVote, language_of_window
from whisper_server.speech.live_facts import LiveFacts
from whisper_server.speech.live_vad import ThreadedVoice
from whisper_server.speech.previous_text import with_earlier
from whisper_server.speech.repetition import EarlierText, shares_phrase
from whisper_server.speech.text_times import Prefix
from whisper_server.speech.transcribe import Transcriber
from whisper_server.speech.turn_end import TurnEnds
from whisper_server.speech.voice_activity import HeardVoice
from whisper_server.speech.window_decoding import WindowDecoder
from whisper_server.speech.window_transcription import WindowTranscriber
from whisper_server.speech.windows import Window
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.engine_protocol import EngineWindow
from whisper_server.whisper.tokens import WhisperTokenizer
from whisper_server.whisper.transcript import Options, Samples, WindowTranscript

N_PROMPTS = 512
"""That are kept as tokens: all passes over a turn have the same."""
MAX_PROMPT_TOKENS = 64
"""Of earlier text and context: a sentence or two set spelling and style, and each token takes time in every pass. With 80 the demo model,
which has seen no longer prompts than 64, leaves out parts of sentences: 49 of 3,596 words instead of 6."""
MIN_HEARD_PROBABILITY = 0.01
"""Of a token, with its text known and no earlier text: a word with one below it is not in the sound. In 453 passes over people at a CPU's
speed (five languages, Whisper base) one has such a word, a wrong one, besides the last of sound that is cut off in it. The demo model leaves
words out behind a prompt ("The flight was of the heavy snow") with 0.00003: 6 of 3,609 words in twenty sessions, 0 with this."""
SHARE_OF_LAST_PASS = 0.05
"""In the mean time of passes."""


@dataclass(frozen=True)
class Turns:
    """Whose turns the windows of a session take in the queue for the engine."""

    owner: str
    session: Hashable
    is_urgent: bool = True
    """Goes ahead of files; not so for sound that came faster than it was spoken."""


@dataclass(frozen=True)
class Context:
    """Sound right before a window, with which the pass begins, and its text, from which it goes on."""

    n_samples: int
    text: str


@dataclass(frozen=True)
class WindowRequest:
    """One pass over a window."""

    options: Options
    """`language` is None where it is to be detected."""
    earlier_text: str
    """What was said before the window, in the same language: it follows the options' prompt."""
    likely_language: str | None
    """That of the session so far."""
    is_final: bool
    """With temperature fallback. Before, a text that looks wrong is not decoded again: the next pass would not confirm it."""
    is_cut: bool = False
    """The sound ends in mid-speech, so the last word is guessed."""
    max_new_tokens: int = 0
    """Where a pass that loops is given up; 0: where files' windows are."""
    confidence: float | None = None
    """Of the voice detector, which has heard the window as it came; None: it is asked again."""
    context: Context | None = None
    """Only where the options have a language."""


@dataclass(frozen=True)
class LiveTranscript(WindowTranscript):
    """What a pass heard."""

    is_misled: bool = False
    """The model read the earlier text aloud, or it was said once more, or a word is not in the sound: this window is better decoded without."""


class LiveWindows:
    """Windows of live sessions."""

    def __init__(self, transcriber: Transcriber, turn_ends: TurnEnds | None = None) -> None:
        """Without `turn_ends` their model takes what memory it needs."""
        self._transcriber = transcriber
        self._turn_ends = turn_ends or TurnEnds(transcriber.threads)
        self.facts = LiveFacts(
            transcriber.tokenizer,
            max_window_samples=int(transcriber.max_window_s * SAMPLE_RATE_HZ),
            has_free_logprobs=transcriber.engine.facts.has_free_logprobs,
        )
        self._previous = lru_cache(N_PROMPTS)(partial(_previous, transcriber.tokenizer))
        self.pass_s = 0.0
        """Seconds that passes take, from where they wait for a slot, the mean of the last ones."""
        self._partial_policy = replace(
            transcriber.policy, fallback_temperatures=transcriber.policy.fallback_temperatures[:1]
        )

    def voice_stream(self, turns: Turns) -> ThreadedVoice:
        """A detector at the start of a session's stream."""
        return ThreadedVoice(self._transcriber.voice, self._transcriber.threads, turns.owner, turns.session)

    async def turn_end(self, samples: Samples, turns: Turns) -> float:
        """The probability that a turn is over that ends with this sound: a pause is at its end."""
        return await self._turn_ends.probability(samples, turns.owner, turns.session)

    def window_s(self) -> float:
        """Seconds per window while the engine is busy; 0: not measured yet."""
        return self._transcriber.wait_estimator.window_s

    @asynccontextmanager
    async def slot(self, turns: Turns) -> AsyncIterator[Callable[[Samples, WindowRequest], Awaitable[LiveTranscript]]]:
        """Hold one of the engine's slots for one pass, which the function makes."""
        transcriber, loop = self._transcriber, asyncio.get_running_loop()
        began_s = loop.time()
        pass_ = object()

        async def transcribe(samples: Samples, request: WindowRequest) -> LiveTranscript:
            result = await self.transcribe(samples, request, turns)
            transcriber.wait_estimator.finish(turns.owner, pass_)
            self.pass_s += SHARE_OF_LAST_PASS * (loop.time() - began_s - self.pass_s)
            return result

        transcriber.wait_estimator.add(turns.owner, pass_, 1)
        try:
            async with transcriber.slots.slot(turns.owner, turns.session, is_urgent=turns.is_urgent):
                yield transcribe
        finally:
            transcriber.wait_estimator.drop(turns.owner, pass_)

    async def transcribe(self, samples: Samples, request: WindowRequest, turns: Turns) -> LiveTranscript:
        """One pass, in a slot, over at most `facts.max_window_samples` samples, the context's first. Raises ApiError."""
        open_window = partial(self._transcriber.engine.open_window, owner=turns.owner, is_live=turns.is_urgent)
        engine_window = open_window(samples)
        try:
            language = request.options.language or await self._detect(engine_window, samples, request)
            earlier_text = request.earlier_text if request.likely_language in (None, language) else ""
            misled: list[bool] = []
            single = self._single(request, language, earlier_text, open_window, lambda: misled.append(True))
            samples = samples[request.context.n_samples :] if request.context else samples
            heard = await single.transcribe(engine_window, samples, Window(0, len(samples)))
            if _is_misled(heard, request, earlier_text):
                misled.append(True)
                engine_window = open_window(samples)  # the one before is closed
                single = self._single(replace(request, context=None), language, "", open_window, lambda: None)
                heard = await single.transcribe(engine_window, samples, Window(0, len(samples)))
            return LiveTranscript(
                heard.text, heard.segments, heard.logprobs, heard.n_output_tokens, language, is_misled=bool(misled)
            )
        finally:
            engine_window.close()

    def _single(
        self,
        request: WindowRequest,
        language: str,
        earlier_text: str,
        open_window: Callable[[Samples], EngineWindow],
        on_misled: Callable[[], None],
    ) -> WindowTranscriber:
        transcriber = self._transcriber
        given = request.options.prompt, request.options.keywords
        context = request.context or Context(0, "")
        prefix = self.facts.tokens(context.text)
        previous, prompt = self._previous(*given, earlier_text, len(prefix))
        without, _ = self._previous(*given, "", 0)
        policy = transcriber.policy if request.is_final else self._partial_policy
        if request.max_new_tokens:
            policy = replace(policy, max_new_tokens=min(request.max_new_tokens, policy.max_new_tokens or 1_000))
        decoder = WindowDecoder(
            tokenizer=transcriber.tokenizer,
            policy=policy,
            voice=transcriber.voice
            if request.confidence is None
            else HeardVoice(transcriber.voice, request.confidence),
            # The guards against a prompt that is read aloud take all of what the model is given.
            options=replace(request.options, prompt=prompt),
            language=language,
            previous=previous,
            on_fallback=transcriber.on_fallback,
            earlier=EarlierText(earlier_text, without, on_misled) if earlier_text else None,
            prefix=Prefix(prefix, context.n_samples / SAMPLE_RATE_HZ),
        )
        return WindowTranscriber(decoder, open_window)

    async def _detect(self, engine_window: EngineWindow, samples: Samples, request: WindowRequest) -> str:
        if not self._transcriber.tokenizer.is_multilingual:
            return SILENCE_LANGUAGE
        candidates = request.options.languages or self._transcriber.tokenizer.languages
        if request.likely_language is not None and len(samples) < MIN_CHANGE_S * SAMPLE_RATE_HZ:
            return request.likely_language
        guess = await engine_window.detect_language()
        if request.likely_language is not None:
            return language_of_window(guess, request.likely_language, candidates)
        vote = LanguageVote(candidates)
        vote.add(guess)
        return vote.language


def _is_misled(heard: WindowTranscript, request: WindowRequest, earlier_text: str) -> bool:
    """Whether the context was said once more, or a word is not in the sound, which the earlier text has made the model write.

    Behind a context the model repeats it where there is sound without words.
    """
    if request.context and shares_phrase(heard.text, request.context.text):
        return True
    words = heard.words[:-1] if request.is_cut else heard.words
    return bool(request.context or earlier_text) and any(
        word.least_probability < MIN_HEARD_PROBABILITY for word in words
    )


def _previous(
    tokenizer: WhisperTokenizer, prompt: str, keywords: tuple[str, ...], earlier_text: str, n_prefix_tokens: int
) -> tuple[tuple[int, ...], str]:
    """The client's prompt and keywords, and the end of the earlier text; what the model reads in them."""
    previous = with_earlier(
        tokenizer.previous_text(prompt, keywords),
        tokenizer.previous_text(earlier_text, ()),
        max_tokens=MAX_PROMPT_TOKENS,
        n_prefix_tokens=n_prefix_tokens,
    )
    return previous, tokenizer.detokenize(previous)

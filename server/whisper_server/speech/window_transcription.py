"""One window from sound to segments and words.

Follows openai/whisper's `seek` inside the window: what the text leaves out at the end is decoded again. `window_decoding` decodes,
`transcribe` decides the number and the order of windows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace

from whisper_server.speech.loudness import AudibleFrames
from whisper_server.speech.repetition import without_repeated_words
from whisper_server.speech.seek import (
    Seek,
    TextEnd,
    is_too_short,
    joined,
    look_back_sample,
    next_seek,
    speech_s,
    text_end,
)
from whisper_server.speech.segments import segments, text_logprobs
from whisper_server.speech.temperature_fallback import Attempt
from whisper_server.speech.text_times import NO_PREFIX, TextTimes
from whisper_server.speech.window_decoding import WindowDecoder
from whisper_server.speech.windows import Window
from whisper_server.speech.words import split_words, time_words
from whisper_server.whisper.constants import SAMPLE_RATE_HZ
from whisper_server.whisper.engine_protocol import EngineWindow
from whisper_server.whisper.transcript import Samples, Task, WindowTranscript

MAX_RESTS = 4
"""The rest of a window is decoded at most this often. In 57 windows of real
speech, in five languages, 12 rests were decoded, 11 of them with words; one window had two."""


@dataclass(frozen=True)
class WindowTranscriber:
    """Transcribes single windows of one request in a given language."""

    decoder: WindowDecoder
    open_window: Callable[[Samples], EngineWindow]
    """Opens the rest of a window (`Engine.open_window`)."""
    frames: AudibleFrames | None = None
    """Of the whole recording, if it is one window."""

    async def transcribe(self, engine_window: EngineWindow, samples: Samples, window: Window) -> WindowTranscript:
        """Decode until a text is accepted, then the rest that it leaves out. Closes `engine_window`. Raises ApiError.

        `samples` are those of the window, without the prefix's. One engine window is open at a time, because the request holds one slot.
        """
        parts: list[WindowTranscript] = []
        seek: Seek | None = Seek(0, is_in_speech=False)
        while seek is not None and len(parts) <= MAX_RESTS:
            if parts:
                samples = samples[seek.sample :]
                window = Window(window.start_sample + seek.sample, window.end_sample)
                engine_window = self.open_window(samples)
            with closing(engine_window):
                attempt = await self.decoder.decode(engine_window, samples)
                if attempt is None:
                    break
                if not parts:
                    attempt = await self.decoder.likelier(engine_window, samples, attempt)
                if seek.is_in_speech:
                    attempt = without_repeated_words(
                        attempt, parts[-1].text, self.decoder.tokenizer, self._written_language
                    )
                parts.append(await self._transcript(engine_window, samples, window, attempt))
                if not self.decoder.options.timestamps and await self._is_too_short(attempt, samples):
                    # Such a text has no place to go on from.
                    if self.decoder.prefix.tokens:
                        engine_window.close()
                        engine_window = self.open_window(samples)
                    options = replace(self.decoder.options, timestamps=True)
                    timed = replace(self, decoder=replace(self.decoder, options=options, prefix=NO_PREFIX))
                    again = await timed.transcribe(engine_window, samples, window)
                    return max(parts[-1], again, key=lambda part: part.n_output_tokens)
                seek = await self._next_seek(engine_window, attempt, samples)
        return joined(parts, self._written_language)

    @property
    def _written_language(self) -> str:
        return "en" if self.decoder.options.task is Task.TRANSLATE else self.decoder.language

    async def _is_too_short(self, attempt: Attempt, samples: Samples) -> bool:
        """Whether a text leaves out some of the speech in this sound."""
        n_tokens = len(self.decoder.tokenizer.text_tokens(attempt.decoded.tokens))
        if not is_too_short(n_tokens, len(samples) / SAMPLE_RATE_HZ):
            return False
        return is_too_short(n_tokens, speech_s(await asyncio.to_thread(self.decoder.voice.speech_spans, samples)))

    async def _next_seek(self, engine_window: EngineWindow, attempt: Attempt, samples: Samples) -> Seek | None:
        """Where the window is decoded again; the voice detector is asked only if the text ends early, or is short."""
        tokens, tokenizer, options = attempt.decoded.tokens, self.decoder.tokenizer, self.decoder.options
        end = text_end(tokens, tokenizer.timestamp_s, len(samples) / SAMPLE_RATE_HZ)
        timed = samples if end is None else samples[: round(end.end_s * SAMPLE_RATE_HZ)]
        if options.timestamps and await self._is_too_short(attempt, timed):
            # One sentence of seven, with the whole window as its time. The alignment may stretch a full stop to the window's end.
            sot_sequence = tokenizer.sot_sequence(self.decoder.language, options.task)
            text_tokens = tokenizer.text_tokens(tokens)
            alignment = await engine_window.align(sot_sequence, text_tokens)
            words = time_words(split_words(text_tokens, tokenizer.detokenize, self._written_language), alignment)
            if 0 < words[-1].end_s < (len(samples) / SAMPLE_RATE_HZ if end is None else end.end_s):
                end = TextEnd(words[-1].end_s, opens_segment=False)
        if end is None:
            return None
        first = look_back_sample(end)
        spans = await asyncio.to_thread(self.decoder.voice.speech_spans, samples[first:])
        return next_seek(end, tuple((first + start, first + stop) for start, stop in spans))

    async def _transcript(
        self, engine_window: EngineWindow, samples: Samples, window: Window, attempt: Attempt
    ) -> WindowTranscript:
        tokens = attempt.decoded.tokens
        decoder = self.decoder
        tokenizer, options = decoder.tokenizer, decoder.options
        how = (options, decoder.language, self._written_language, decoder.prefix, self.frames)
        times = TextTimes(tokenizer, decoder.voice, *how)
        spans, words = await times.of(engine_window, samples, tokens, window.duration_s)
        return WindowTranscript(
            text=tokenizer.detokenize(tokens).rstrip(),
            segments=tuple(segments(attempt, spans, words, window, tokenizer)),
            logprobs=text_logprobs(attempt, tokenizer) if options.logprobs else (),
            n_output_tokens=len(tokenizer.text_tokens(tokens)),
        )

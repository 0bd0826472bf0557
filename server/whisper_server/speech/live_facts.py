"""What a live session knows of the model and hears by itself, in the server's process or in one for sessions."""

from __future__ import annotations

from functools import cached_property, lru_cache, partial
from typing import Any

from whisper_server.speech.language import check_languages
from whisper_server.speech.live_vad import VoiceStream
from whisper_server.speech.vad import FRAME_SAMPLES, VoiceDetector
from whisper_server.whisper.tokens import WhisperTokenizer
from whisper_server.whisper.transcript import Options

N_TEXTS = 4_096
"""Whose tokens are kept: sentences in contexts, some ten in each session."""


class LiveFacts:
    """Of one model. May be sent to another process."""

    frame_samples = FRAME_SAMPLES

    def __init__(self, tokenizer: WhisperTokenizer, *, max_window_samples: int, has_free_logprobs: bool) -> None:
        self._tokenizer = tokenizer
        self.max_window_samples = max_window_samples
        """The longest window that is transcribed."""
        self.has_free_logprobs = has_free_logprobs
        """A pass with the log-probabilities of its tokens costs no more than one without."""
        self.tokens = lru_cache(N_TEXTS)(tokenizer.encode_text)

    def __reduce__(self) -> tuple[Any, ...]:
        """For other processes: without what is kept."""
        return partial(
            LiveFacts,
            self._tokenizer,
            max_window_samples=self.max_window_samples,
            has_free_logprobs=self.has_free_logprobs,
        ), ()

    def check_options(self, options: Options) -> None:
        """Raises BadRequest for a language that the model lacks."""
        check_languages(self._tokenizer, options)

    def n_tokens(self, text: str) -> int:
        """Of the model's tokenizer."""
        return len(self.tokens(text))

    def new_voice(self) -> VoiceStream:
        """A voice detector at the start of a stream. The first call loads its model. Raises StartError."""
        return VoiceStream(self._voice)

    @cached_property
    def _voice(self) -> VoiceDetector:
        return VoiceDetector()

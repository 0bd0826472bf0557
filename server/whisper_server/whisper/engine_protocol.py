"""The interface of every engine: one Protocol, and the data types in its calls.

An engine decodes whole windows; there is no token stream. Each engine batches on its own. What all engines share
(prompt, temperature fallback, segments, words) is in the `speech` package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from whisper_server.whisper.transcript import Samples


@dataclass(frozen=True)
class ModelFacts:
    """What the pipeline needs to know about the loaded model."""

    model_id: str
    engine: str
    dtype: str
    device: str
    is_multilingual: bool
    """False for the `.en` models, whose prompt has neither language nor task."""
    n_text_positions: int
    """Length of the decoder's context: 448 in every published Whisper."""
    n_windows_in_flight: int
    """Number of windows that the engine needs at a time to fill its batches."""
    has_free_logprobs: bool = True
    """The log-probabilities of tokens cost nothing; CTranslate2 decodes greedily and two windows at a time for them."""
    n_windows_for_newcomers: int = 0
    """Windows that it takes beyond them, of clients that have none in it: for an engine whose windows end batch by batch,
    and would make a newcomer wait for a batch of others."""
    max_live_windows: int | None = None
    """Passes of live sessions that it takes at a time, where it takes more windows than it computes together: those that wait
    before it hear newer sound than those that wait in it."""


@dataclass(frozen=True)
class LanguageGuess:
    """Probabilities of the first decoding step after `<|startoftranscript|>` for one window."""

    probabilities: tuple[tuple[str, float], ...]
    """(language code, probability), best first; over the model's languages, sums to 1."""


@dataclass(frozen=True)
class DecodeRequest:
    """How to decode one window. Token ids come from the model's own tokenizer."""

    prompt_tokens: tuple[int, ...]
    """From `<|startofprev|>` or `<|startoftranscript|>` to the last forced token."""
    n_task_tokens: int
    """Tokens from `<|startoftranscript|>` on: 4 with language, task and `<|notimestamps|>`, and the prefix."""
    temperature: float
    beam_size: int
    max_new_tokens: int
    logprobs: bool
    n_prefix_tokens: int = 0
    """The last of the prompt's tokens, a text that the window is known to begin with (openai/whisper: `DecodingOptions.prefix`); only
    without timestamps, whose rules take no account of it."""
    sot_sequence: tuple[int, ...] = ()
    """Of a text that is aligned afterwards, as `EngineWindow.align` takes it: an engine may align it as soon as it is decoded. Empty: it
    is not, or its prefix is too."""

    @property
    def last_task_token(self) -> int:
        """The one before the text."""
        return self.prompt_tokens[-1 - self.n_prefix_tokens]


@dataclass(frozen=True)
class Decoded:
    """One decoded window."""

    tokens: tuple[int, ...]
    """Text and timestamp tokens, without `<|endoftext|>`."""
    sum_logprob: float
    """Sum over the tokens and `<|endoftext|>`; at temperature 1, after the logits rules."""
    no_speech_prob: float
    token_logprobs: tuple[float, ...] = ()
    """One per token, if requested; at temperature 1, after the rules."""
    hit_length_limit: bool = False


@dataclass(frozen=True)
class Alignment:
    """Times of the tokens of a window: DTW over cross-attention (`find_alignment` of openai/whisper)."""

    token_starts_s: tuple[float, ...]
    """Shape (n_text_tokens + 1,): the starts and the last end, in seconds from the start of the window."""
    token_probabilities: tuple[float, ...]
    """One per text token."""


class EngineWindow(Protocol):
    """One window inside the engine, which keeps the encoder output for all calls."""

    async def detect_language(self) -> LanguageGuess:
        """Probabilities of the spoken language. The model must be multilingual."""

    async def decode(self, request: DecodeRequest) -> Decoded:
        """Decode the window. A cancelled call leaves the queue."""

    async def align(self, sot_sequence: tuple[int, ...], text_tokens: tuple[int, ...]) -> Alignment:
        """Align `text_tokens` with the audio; `sot_sequence` is `<|startoftranscript|>`, language and task."""

    def close(self) -> None:
        """Free the window and drop its queued work. Idempotent."""


class Engine(Protocol):
    """A Whisper model that decodes windows."""

    @property
    def facts(self) -> ModelFacts:
        """Available after `start`."""

    async def start(self) -> None:
        """Load and warm up. Raises StartError."""

    async def stop(self) -> None:
        """Finish running work and drop queued work."""

    def health(self) -> str | None:
        """None while the engine works, else the reason why it does not."""

    def open_window(
        self, samples: Samples, *, owner: str = "", is_live: bool = False, timestamps: bool = True
    ) -> EngineWindow:
        """Open a window of at most 30 s, not padded. Cheap: computation starts with the first call.

        An engine that computes windows one after the other takes them in turns by `owner`, and a turn costs what it
        computed. One of a live session may go ahead of files', up to a share. It may be padded to less than 30 s, and so may
        one that is decoded without `timestamps`.
        """
